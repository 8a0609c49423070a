"""The host's interfaces, in the form that componentize-py gives them, with an SQLite database in memory."""

import re
import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

# The kit imports this module, so it imports nothing of the kit.


@dataclass(frozen=True)
class Err(Exception):
    """The error of a call."""

    value: Any


class service:
    """The interface `service`."""

    Access = Enum("Access", ["PUBLIC", "USER", "ADMIN", "INTERNAL"], start=0)
    Method = Enum("Method", ["GET", "POST", "PUT", "PATCH", "DELETE"], start=0)

    @dataclass
    class Route:
        method: Any
        path: str
        access: Any
        headers: list[str]

    @dataclass
    class Migration:
        version: int
        sql: str

    @dataclass
    class SchemaRange:
        minimum: int
        maximum: int

    @dataclass
    class Probe:
        method: Any
        path: str
        caller: str | None
        body: str | None

    @dataclass
    class Description:
        name: str
        version: str
        health: str | None
        routes: list[Any]
        migrations: list[Any]
        schema: Any
        probes: list[Any]
        documentation: str | None


class handler:
    """The interface `handler`."""

    @dataclass
    class Request:
        method: Any
        target: str
        headers: list[tuple[str, bytes]]
        body: bytes

    @dataclass
    class Response:
        status: int
        headers: list[tuple[str, bytes]]
        body: bytes


class session:
    """The interface `session`."""

    ended = False

    @classmethod
    def has_ended(cls) -> bool:
        return cls.ended


@dataclass
class Value_Null:
    value = None


@dataclass
class Value_Integer:
    value: int


@dataclass
class Value_Real:
    value: float


@dataclass
class Value_Text:
    value: str


@dataclass
class Value_Blob:
    value: bytes


@dataclass
class Error_Constraint:
    value: Any


@dataclass
class Error_Busy:
    pass


@dataclass
class Error_Invalid:
    value: str


Constraint = Enum("Constraint", ["UNIQUE", "FOREIGN_KEY", "CHECK", "NOT_NULL", "OTHER"], start=0)

# What SQLite says about a violated constraint.
CONSTRAINTS = {
    "UNIQUE constraint": "UNIQUE",
    "FOREIGN KEY constraint": "FOREIGN_KEY",
    "CHECK constraint": "CHECK",
    "NOT NULL constraint": "NOT_NULL",
    "cannot store": "OTHER",
}

_database: sqlite3.Connection | None = None


def install(migrations: Sequence[str]) -> sqlite3.Connection:
    """Replaces the database by a new one."""
    global _database
    if _database is not None:
        _database.close()
    _database = sqlite3.connect(":memory:", isolation_level=None)
    _database.execute("PRAGMA foreign_keys = ON")
    for sql in migrations:
        _database.executescript(sql)
    return _database


def run(sql: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
    numbers = [int(digits) for digits in re.findall(r"\$([0-9]+)", sql)]
    if max(numbers, default=0) != len(parameters):
        raise Err(Error_Invalid("wrong number of parameters"))
    assert _database is not None, "a test calls `install` first"
    try:
        # Python's driver numbers `?1`, but not `$1`.
        return _database.execute(re.sub(r"\$([0-9]+)", r"?\1", sql), [parameter.value for parameter in parameters])
    except sqlite3.Error as error:
        raise Err(reason(str(error))) from None


def reason(message: str) -> Any:
    found = next((name for text, name in CONSTRAINTS.items() if text in message), None)
    return Error_Invalid(message) if found is None else Error_Constraint(Constraint[found])


def rows(sql: str, parameters: Sequence[Any]) -> bytes:
    cursor = run(sql, parameters)
    names = [column[0] for column in cursor.description or []]
    values = b"".join(packed(value) for row in cursor.fetchall() for value in row)
    return struct.pack("<I", len(names)) + b"".join(sized(name.encode()) for name in names) + values


def sized(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def packed(value: Any) -> bytes:
    """A value as the host packs it. `wit/storage.wit` describes the format."""
    match value:
        case None:
            return b"\0"
        case int():
            return struct.pack("<Bq", 1, value)
        case float():
            return struct.pack("<Bd", 2, value)
        case str():
            return b"\3" + sized(value.encode())
    return b"\4" + sized(value)


class Transaction:
    """An open transaction."""

    def __init__(self) -> None:
        assert _database is not None, "a test calls `install` first"
        if _database.in_transaction:
            raise Err(Error_Busy())
        _database.execute("BEGIN IMMEDIATE")

    def query(self, sql: str, params: Sequence[Any]) -> bytes:
        return rows(sql, params)

    def execute(self, sql: str, params: Sequence[Any]) -> int:
        return run(sql, params).rowcount

    @classmethod
    def commit(cls, transaction: Self) -> None:
        run("COMMIT", [])

    def __exit__(self, *_: object) -> None:
        run("ROLLBACK", [])


class storage:
    """The interface `storage`."""

    Value_Null, Value_Integer, Value_Real = Value_Null, Value_Integer, Value_Real
    Value_Text, Value_Blob = Value_Text, Value_Blob
    Transaction = Transaction

    @staticmethod
    def query(sql: str, params: Sequence[Any]) -> bytes:
        run("PRAGMA query_only = ON", [])
        try:
            return rows(sql, params)
        finally:
            run("PRAGMA query_only = OFF", [])

    @staticmethod
    def execute(sql: str, params: Sequence[Any]) -> int:
        return run(sql, params).rowcount

    @staticmethod
    def begin() -> Any:
        return Transaction()
