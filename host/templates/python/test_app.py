import unittest

import app
from comptoir.testing import install


class Items(unittest.TestCase):
    def setUp(self) -> None:
        self.service = install(app)

    def test_everybody_reads_the_list_and_a_user_adds_to_it(self) -> None:
        added = self.service.post("/NAME", {"text": "milk"}, by="ada")
        milk = {"id": 1, "owner": "ada", "text": "milk"}
        self.assertEqual((added.status, added.body["data"]), (201, milk))
        self.assertEqual(self.service.get("/NAME").body, {"success": True, "data": [milk], "count": 1})

    def test_a_new_item_needs_a_token_and_a_text(self) -> None:
        self.assertEqual(self.service.post("/NAME", {"text": "milk"}).outcome, (401, "MISSING_TOKEN"))
        self.assertEqual(self.service.post("/NAME", {"text": ""}, by="ada").outcome, (422, "INVALID_FIELD"))


if __name__ == "__main__":
    unittest.main()
