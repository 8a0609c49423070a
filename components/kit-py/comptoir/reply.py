"""Replies: a status, headers, and a body, usually JSON in the envelope."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import quote

from . import host
from .errors import HttpError


def to_json(value: Any) -> str:
    """Writes a value as JSON. A dataclass becomes an object."""
    return json.dumps(value, default=plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


class Reply:
    """A reply of a handler."""

    def __init__(self, status: int, content_type: str | None, body: bytes | str) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.headers: list[tuple[str, str]] = []
        self.envelope: dict[str, Any] | None = None

    def with_status(self, status: int) -> Self:
        """Changes the status."""
        self.status = status
        return self

    def with_header(self, name: str, value: str) -> Self:
        """Adds a header. The name is in lower case, and neither `content-type` nor `content-length`."""
        self.headers.append((name, value))
        return self

    def with_message(self, text: str) -> Self:
        """Adds a `message` to the envelope."""
        if self.envelope is None:
            raise TypeError("only a reply with the envelope has a message")
        self.envelope["message"] = text
        return self

    def with_cookie(self, name: str, value: str, *, max_age: int | None = None, for_scripts: bool = False) -> Self:
        """Sets a cookie for all paths and percent-encodes its value. A reply with a cookie is not cached.

        The browser sends it over TLS alone, hides it from scripts, and does not send it with requests that other sites start.
        `max_age` is in seconds: without it, the browser deletes the cookie when it closes, and with 0 at once.
        """
        parts = [f"{name}={quote(value, safe='')}", "Path=/", "Secure", "SameSite=Lax"]
        if not for_scripts:
            parts.append("HttpOnly")
        if max_age is not None:
            parts.append(f"Max-Age={max_age}")
        return self.with_header("set-cookie", "; ".join(parts))

    def to_record(self) -> Any:
        """The record `response` of `wit/handler.wit`."""
        body = self.body if self.envelope is None else to_json(self.envelope)
        headers = [] if self.content_type is None else [("content-type", self.content_type)]
        encoded = [(name, value.encode()) for name, value in headers + self.headers]
        return host.handler.Response(self.status, encoded, body.encode() if isinstance(body, str) else body)


def success(status: int, **members: Any) -> Reply:
    """JSON with the envelope of a success."""
    reply = Reply(status, "application/json", "")
    reply.envelope = {"success": True, **members}
    return reply


def ok(data: Any) -> Reply:
    """200 with `data`."""
    return success(200, data=data)


def created(data: Any) -> Reply:
    """201 with `data`."""
    return success(201, data=data)


def listing(items: Sequence[Any]) -> Reply:
    """200 with a list as `data` and its length as `count`."""
    return success(200, data=items, count=len(items))


def message(text: str) -> Reply:
    """200 with a `message` and no `data`."""
    return success(200, message=text)


def empty() -> Reply:
    """204 without a body."""
    return Reply(204, None, b"")


def redirect(location: str) -> Reply:
    """303: the client continues with a GET of `location` (RFC 9110, section 15.4.4).

    Never pass a text from a client without a check: it could lead to another site.
    """
    return Reply(303, None, b"").with_header("location", location)


def raw(content_type: str, body: str | bytes) -> Reply:
    """200 with any body and content type, without the envelope: `raw("text/csv", rows)`."""
    return Reply(200, content_type, body)


def bare(status: int, value: Any) -> Reply:
    """JSON without the envelope."""
    return Reply(status, "application/json", to_json(value))


def failed(error: HttpError) -> Reply:
    """The reply to an error."""
    body = {"code": error.code, "message": error.message}
    if error.details is not None:
        body["details"] = error.details
    reply = bare(error.status, {"success": False, "error": body})
    if error.status == 401:
        reply.with_header("www-authenticate", "Bearer")
    if error.retry_after is not None:
        reply.with_header("retry-after", str(error.retry_after))
    for name, value in error.headers.items():
        reply.with_header(name, value)
    return reply
