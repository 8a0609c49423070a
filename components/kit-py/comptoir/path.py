"""Paths: patterns like `/todos/{id}`, and their parameters."""

import re
from urllib.parse import unquote_to_bytes


def parameter_name(segment: str) -> str | None:
    """The name of a segment in braces. None for a literal segment."""
    return segment[1:-1] if segment.startswith("{") and segment.endswith("}") else None


def matches(pattern: str, path: str) -> bool:
    """Whether a path matches a pattern. A segment in braces matches any segment that is not empty."""
    expected, found = pattern.split("/"), path.split("/")
    fits = (
        segment == other if parameter_name(segment) is None else other != ""
        for segment, other in zip(expected, found, strict=False)
    )
    return len(expected) == len(found) and all(fits)


def generality(pattern: str) -> list[bool]:
    """Sorts patterns that match the same path, the most specific one first.

    The first segment that is literal in one pattern and a parameter in the other decides.
    """
    return [parameter_name(segment) is not None for segment in pattern.split("/")]


def parameter(pattern: str, path: str, name: str) -> str | None:
    """The segment of a path at the pattern's `{name}`, decoded. None if there is none, or if its encoding is invalid."""
    pairs = zip(pattern.split("/"), path.split("/"), strict=False)
    return next((decode(segment) for part, segment in pairs if parameter_name(part) == name), None)


def decode(text: str) -> str | None:
    """Percent-decodes a text. None if two hex digits are missing after a `%`, or if the result is not UTF-8."""
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        return None
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return None


def row_id(digits: str | None) -> int | None:
    """Reads a row id: only digits, and at most 2^63 - 1."""
    if digits is None or not re.fullmatch("[0-9]{1,40}", digits):
        return None
    return int(digits) if int(digits) < 2**63 else None
