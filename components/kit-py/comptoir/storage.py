"""SQL on the service's own database.

Statements number their parameters `$1`, `$2`, … SQL functions for the time and for random numbers are not available: pass such
values as parameters. Every function raises a `StorageError` if the statement has no effect.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from . import host
from .errors import StorageError
from .rows import Row, Value, unpack


@contextmanager
def checked() -> Iterator[None]:
    """Errors of the host become a `StorageError`."""
    try:
        yield
    except host.Err as error:
        raise storage_error(error.value) from None


def storage_error(error: Any) -> StorageError:
    """The error of a variant such as `Error_TooLarge`."""
    words = re.findall("[A-Z][a-z]*", type(error).__name__.removeprefix("Error_"))
    value: Any = getattr(error, "value", None)
    text = value.name.lower().replace("_", "-") if hasattr(value, "name") else value
    return StorageError("-".join(words).lower(), text)


def query(sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
    """Reads rows outside a transaction, as dictionaries by column names. Sees every commit that was acknowledged before."""
    with checked():
        return unpack(host.storage.query(sql, values_of(parameters)))


def query_one(sql: str, parameters: Sequence[Value] = ()) -> Row | None:
    """The first row of a query. None if there is none."""
    return next(iter(query(sql, parameters)), None)


def execute(sql: str, parameters: Sequence[Value] = ()) -> int:
    """Writes in its own transaction and returns the number of changed rows. When it returns, the write is durable."""
    with checked():
        return host.storage.execute(sql, values_of(parameters))


class Transaction:
    """An open transaction. Its writes are durable when `commit` returns."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def is_open(self) -> bool:
        """Whether the transaction has neither been committed nor rolled back."""
        return self._handle is not None

    def query(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Reads committed rows and this transaction's writes. Can also write, with `RETURNING`."""
        with checked():
            return unpack(self._opened().query(sql, values_of(parameters)))

    def query_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row of a query. None if there is none."""
        return next(iter(self.query(sql, parameters)), None)

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Writes and returns the number of changed rows."""
        with checked():
            return self._opened().execute(sql, values_of(parameters))

    def commit(self) -> None:
        """Makes all writes durable. After an error, none was written."""
        handle, self._handle = self._opened(), None
        with checked():
            host.storage.Transaction.commit(handle)

    def rollback(self) -> None:
        """Discards all writes. Does nothing after the end of the transaction."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            handle.__exit__(None, None, None)

    def _opened(self) -> Any:
        if self._handle is None:
            raise RuntimeError("the transaction has ended")
        return self._handle


def begin() -> Transaction:
    """Begins a transaction, which takes the only writer of the database. End it with `commit` or `rollback`.

    Other writers wait meanwhile, so the host ends a transaction after its lease: one second unless the manifest sets another.
    """
    with checked():
        return Transaction(host.storage.begin())


@contextmanager
def transaction() -> Iterator[Transaction]:
    """A transaction for a `with` statement, which commits at its end. If the block raises, nothing was written.

    `request.transaction` also checks the caller's session.
    """
    opened = begin()
    try:
        yield opened
        if opened.is_open:
            opened.commit()
    finally:
        opened.rollback()


def values_of(parameters: Sequence[Value]) -> list[Any]:
    return [value_of(value, index + 1) for index, value in enumerate(parameters)]


def value_of(value: Value, number: int) -> Any:
    """The value of a parameter for the host."""
    match value:
        case None:
            return host.storage.Value_Null()
        case int() if -(2**63) <= value < 2**63:  # a boolean is 0 or 1
            return host.storage.Value_Integer(int(value))
        case float() if math.isfinite(value):
            return host.storage.Value_Real(value)
        case str():
            return host.storage.Value_Text(value)
        case bytes() | bytearray():
            return host.storage.Value_Blob(bytes(value))
    accepted = "pass None, a boolean, an integer of 64 bits, a finite float, a string or bytes"
    raise TypeError(f"parameter ${number} has the type {type(value).__name__}: {accepted}")
