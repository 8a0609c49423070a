import unittest

import app
from comptoir.testing import install


class Todos(unittest.TestCase):
    def setUp(self) -> None:
        self.todos = install(app)

    def test_a_user_creates_a_todo_that_everyone_sees(self) -> None:
        created = self.todos.post("/todos", {"title": "milk"}, by="ada")
        milk = {"id": 1, "owner": "ada", "title": "milk", "done": False}
        self.assertEqual((created.status, created.body["data"]), (201, milk))
        self.assertEqual(self.todos.get("/todos").body, {"success": True, "data": [milk], "count": 1})

    def test_a_wrong_title_is_refused_with_the_name_of_the_field(self) -> None:
        refused = self.todos.post("/todos", {"title": ""}, by="ada")
        self.assertEqual(refused.outcome, (422, "INVALID_FIELD"))
        self.assertEqual(refused.body["error"]["details"], {"field": "title"})

    def test_only_users_create_todos_and_only_admins_delete_them(self) -> None:
        self.assertEqual(self.todos.post("/todos", {"title": "milk"}).outcome, (401, "MISSING_TOKEN"))
        self.todos.post("/todos", {"title": "milk"}, by="ada")
        self.assertEqual(self.todos.delete("/todos/1", by="ada").outcome, (403, "FORBIDDEN"))
        self.assertEqual(self.todos.delete("/todos/1", by="root", role="admin").status, 204)

    def test_an_import_with_a_title_that_exists_leaves_nothing_behind(self) -> None:
        self.todos.post("/todos", {"title": "milk"}, by="ada")
        refused = self.todos.post("/todos/import", {"titles": ["bread", "milk"]}, by="ada")
        self.assertEqual(refused.outcome, (409, "TODO_EXISTS"))
        self.assertEqual(self.todos.get("/todos").body["count"], 1)

    def test_only_the_owner_changes_a_todo(self) -> None:
        self.todos.post("/todos", {"title": "milk"}, by="ada")
        self.assertEqual(self.todos.put("/todos/1", {"done": True}, by="bob").outcome, (404, "TODO_NOT_FOUND"))
        self.assertIs(self.todos.put("/todos/1", {"done": True}, by="ada").body["data"]["done"], True)
        self.assertEqual(self.todos.get("/todos?state=open").body["count"], 0)


if __name__ == "__main__":
    unittest.main()
