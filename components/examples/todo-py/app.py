"""Todos: everyone sees them, and every user has their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from comptoir import (
    HttpError,
    Length,
    Range,
    Reply,
    Request,
    Row,
    StorageError,
    Transaction,
    created,
    define_service,
    delete,
    empty,
    get,
    listing,
    ok,
    post,
    put,
    query,
    query_one,
)

Title = Annotated[str, Length(1, 200)]


@dataclass
class Todo:
    id: Annotated[int, Range(1)]
    owner: str
    title: Title
    done: bool


@dataclass
class NewTodo:
    title: Title


@dataclass
class NewTodos:
    titles: Annotated[list[Title], Length(1, 100)]


@dataclass
class Change:
    done: bool


@dataclass
class Filter:
    state: Literal["open", "done"] | None = None


def list_todos(request: Request) -> Reply:
    wish: Filter = request.query_fields()
    wanted = None if wish.state is None else wish.state == "done"
    sql = "SELECT id, owner, title, done FROM todos WHERE $1 IS NULL OR done = $1 ORDER BY id DESC LIMIT 100"
    return listing([todo_of(row) for row in query(sql, [wanted])])


def show_todo(request: Request) -> Reply:
    return ok(found(query_one("SELECT id, owner, title, done FROM todos WHERE id = $1", [request.id("id")])))


def create_todo(request: Request) -> Reply:
    new: NewTodo = request.json()
    with request.transaction() as transaction:
        todo = insert(transaction, request.user.username, new.title)
    return created(todo)


def import_todos(request: Request) -> Reply:
    new: NewTodos = request.json()
    with request.transaction() as transaction:
        for title in new.titles:
            insert(transaction, request.user.username, title)
    return empty()


def change_todo(request: Request) -> Reply:
    change: Change = request.json()
    sql = "UPDATE todos SET done = $1 WHERE id = $2 AND owner = $3 RETURNING id, owner, title, done"
    with request.transaction() as transaction:
        row = transaction.query_one(sql, [change.done, request.id("id"), request.user.username])
    return ok(found(row))


def delete_todo(request: Request) -> Reply:
    sql = "DELETE FROM todos WHERE id = $1 RETURNING id, owner, title, done"
    with request.transaction() as transaction:
        found(transaction.query_one(sql, [request.id("id")]))
    return empty()


def insert(transaction: Transaction, owner: str, title: str) -> Todo:
    sql = "INSERT INTO todos (owner, title) VALUES ($1, $2) RETURNING id, owner, title, done"
    try:
        return found(transaction.query_one(sql, [owner, title]))
    except StorageError as error:
        if error.constraint != "unique":
            raise
        raise HttpError(409, "TODO_EXISTS", "You have a todo with this title.", details={"title": title}) from None


def found(row: Row | None) -> Todo:
    if row is None:
        raise HttpError(404, "TODO_NOT_FOUND", "There is no such todo.")
    return todo_of(row)


def todo_of(row: Row) -> Todo:
    return Todo(**{**row, "done": row["done"] == 1})  # SQL stores a boolean as 0 or 1


MISSING = {404: {"TODO_NOT_FOUND": "The caller has no such todo."}}
TWICE = {409: {"TODO_EXISTS": "The caller has a todo with this title."}}

Service, Handler = define_service(
    "todo-service",
    migrations=[(Path(__file__).parent / "migrations/1.sql").read_text()],
    routes=[
        get("/todos", "public", list_todos, query=Filter, lists=Todo),
        get("/todos/{id}", "public", show_todo, gives=Todo, errors=MISSING),
        post("/todos", "user", create_todo, body=NewTodo, creates=Todo, errors=TWICE),
        post("/todos/import", "user", import_todos, summary="Create all of these todos or none", body=NewTodos, errors=TWICE),
        put("/todos/{id}", "user", change_todo, body=Change, gives=Todo, errors=MISSING),
        delete("/todos/{id}", "admin", delete_todo, errors=MISSING),
    ],
)
