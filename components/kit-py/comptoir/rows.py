"""The rows of a query: unpacks the host's bytes into dictionaries. `wit/storage.wit` describes the format."""

import struct
from typing import Any

from .errors import StorageError

Value = None | int | float | str | bytes
"""A value of a parameter or a row."""

Row = dict[str, Any]
"""The values of a row, by column names. Each is a `Value`."""


def unpack(packed: bytes) -> list[Row]:
    """Unpacks rows into dictionaries with the column names as keys."""
    reader = Reader(packed)
    columns = [reader.text() for _ in range(reader.number("<I"))]
    check_names(columns)
    rows = []
    while columns and reader.has_more():
        rows.append({name: reader.value() for name in columns})
    return rows


def check_names(columns: list[str]) -> None:
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise StorageError("invalid", f"two columns are named {twice}: rename one of them with AS")


class Reader:
    """Reads packed values, one after another."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.at = 0

    def has_more(self) -> bool:
        return self.at < len(self.packed)

    def number(self, layout: str):  # type: ignore[no-untyped-def]
        (number,) = struct.unpack_from(layout, self.packed, self.at)
        self.at += struct.calcsize(layout)
        return number

    def bytes(self) -> bytes:
        length = self.number("<I")
        self.at += length
        return self.packed[self.at - length : self.at]

    def text(self) -> str:
        return self.bytes().decode()

    def value(self) -> Value:
        match self.number("<B"):
            case 0:
                return None
            case 1:
                return self.number("<q")
            case 2:
                return self.number("<d")
            case 3:
                return self.text()
            case 4:
                return self.bytes()
        raise StorageError("invalid", "cannot unpack the rows from the host")
