"""A list of items. Everybody reads it, users with a token add to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from comptoir import Length, Probe, Range, Reply, Request, created, define_service, get, listing, post, query

Text = Annotated[str, Length(1, 200)]


@dataclass
class Item:
    id: Annotated[int, Range(1)]
    owner: str
    text: Text


@dataclass
class NewItem:
    text: Text


def list_items(request: Request) -> Reply:
    rows = query("SELECT id, owner, text FROM items ORDER BY id DESC LIMIT 100")
    return listing([Item(**row) for row in rows])


def create_item(request: Request) -> Reply:
    new: NewItem = request.json()
    sql = "INSERT INTO items (owner, text) VALUES ($1, $2) RETURNING id, owner, text"
    with request.transaction() as transaction:
        row = transaction.query_one(sql, [request.user.username, new.text])
    return created(row)


Service, Handler = define_service(
    "NAME",
    migrations=[(Path(__file__).parent / "migrations/1.sql").read_text()],
    # A new revision serves only after it has answered these.
    probes=[Probe("get", "/NAME")],
    routes=[
        get("/NAME", "public", list_items, lists=Item),
        post("/NAME", "user", create_item, body=NewItem, creates=Item),
    ],
)
