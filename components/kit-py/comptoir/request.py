"""A request, with its caller as the host verified it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from . import host, storage
from .errors import HttpError
from .path import parameter, row_id
from .shape import read_body, read_query

# The longest JSON body, in bytes.
JSON_LIMIT = 1 << 20
# The deepest one. Python's parser is recursive, and a component has a small stack.
JSON_DEPTH = 128
# A string in JSON, also one that does not end: so the search takes linear time.
STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)


@dataclass(frozen=True)
class Caller:
    """The caller, as the host verified it from an access token."""

    username: str
    role: str
    session: str | None

    @property
    def is_admin(self) -> bool:
        """Whether the caller is an administrator."""
        return self.role == "admin"


class Request:
    """A request to one handler."""

    def __init__(self, raw: Any, route: Any) -> None:
        self._raw = raw
        self._route = route

    @property
    def path(self) -> str:
        """The path without the query, still percent-encoded."""
        path, _, _ = self._raw.target.partition("?")
        return path

    @property
    def query(self) -> list[tuple[str, str]]:
        """All query parameters with their values, decoded."""
        _, _, query = self._raw.target.partition("?")
        return parse_qsl(query, keep_blank_values=True)

    def query_fields(self) -> Any:
        """The query as the dataclass that the route declares as `query`. Raises 400 `INVALID_QUERY`, which names the parameter."""
        if "query" not in self._route.options:
            raise TypeError(f"{self._route.name} declares no query")
        return read_query(self._route.options["query"], self.query)

    def param(self, name: str) -> str | None:
        """The path parameter `{name}` of the route, decoded. None if its encoding is invalid."""
        return parameter(self._route.path, self.path, name)

    def id(self, name: str) -> int | None:
        """A path parameter that is a row id. None if it cannot be one: then reply as for a missing row."""
        return row_id(self.param(name))

    def header(self, name: str) -> str | None:
        """The first value of a header, whose name is in lower case. None if it is absent, not UTF-8, or not declared by the route."""
        return next((decoded(value) for key, value in self._raw.headers if key == name), None)

    def cookie(self, name: str) -> str | None:
        """The first value of a cookie, not decoded. The route must declare that it reads `cookie`."""
        fields = [decoded(value) or "" for key, value in self._raw.headers if key == "cookie"]
        pairs = [pair.strip().partition("=") for field in fields for pair in field.split(";")]
        return next((value.strip() for key, equals, value in pairs if key == name and equals), None)

    @property
    def caller(self) -> Caller | None:
        """The caller. None on a public route without a valid token."""
        username = self.header("x-user-id")
        return Caller(username, self.header("x-user-role") or "", self.header("x-session-id")) if username else None

    @property
    def user(self) -> Caller:
        """The caller of a route that requires one.

        Without a caller it raises 401, which only happens on a public route, because the host refuses such requests to other routes.
        """
        if self.caller is None:
            raise HttpError(401, "MISSING_TOKEN", "This request needs a bearer token.")
        return self.caller

    @property
    def calling_service(self) -> str | None:
        """The name of the calling service on this host. None for a request from outside."""
        return self.header("x-comptoir-caller")

    def session_has_ended(self) -> bool:
        """Whether the caller's session has ended since the host admitted the request."""
        return host.session.has_ended()

    @contextmanager
    def transaction(self) -> Iterator[storage.Transaction]:
        """A transaction for the caller, for a `with` statement. It commits at its end. If the block raises, nothing was written.

        If the caller's session ended while the request waited for the database's writer, it raises 401 `INVALID_TOKEN`. So an ended
        session writes nothing more.
        """
        with storage.transaction() as transaction:
            if self.session_has_ended():
                raise HttpError(401, "INVALID_TOKEN", "The token is invalid or has expired")
            yield transaction

    @property
    def body(self) -> bytes:
        """The whole body, of any content type."""
        return self._raw.body

    @property
    def content_type(self) -> str | None:
        """The content type of the body, with its parameters."""
        return self.header("content-type")

    def json(self) -> Any:
        """The JSON body, as the dataclass that the route declares as `body`. Without one, any JSON is accepted.

        Raises 400 `INVALID_BODY` if the body is not JSON, 413 `BODY_TOO_LARGE` beyond 1 MiB, and 422 `INVALID_FIELD`, which names the
        field by its path. If a key occurs twice, the last value counts. The body has at most 128 levels.
        """
        check_content_type(self.content_type)
        if len(self.body) > JSON_LIMIT:
            raise HttpError(413, "BODY_TOO_LARGE", "The body is longer than 1 MiB.")
        value = parsed(self.body)
        return read_body(self._route.options["body"], value) if "body" in self._route.options else value


def decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def parsed(body: bytes) -> Any:
    if not body:
        raise invalid_body("The body is empty. Send a JSON object.")
    try:
        text = body.decode()
        check_depth(text)
        return json.loads(text, parse_constant=refuse_constant)
    except ValueError:
        raise invalid_body("The body is not JSON.") from None


def check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= JSON_DEPTH:
        return
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > JSON_DEPTH:
            raise invalid_body(f"The body has more than {JSON_DEPTH} levels of arrays and objects.")


def refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which JSON does not have."""
    raise ValueError(name)


def check_content_type(content_type: str | None) -> None:
    """Accepts `application/json` and `application/…+json` in any case and with any parameters."""
    if content_type is None:
        raise invalid_body("The body has no Content-Type. Send application/json.")
    essence = content_type.partition(";")[0].strip()
    if not re.fullmatch(r"application/(json|.+\+json)", essence, re.IGNORECASE):
        shown = re.sub("[^ -~]", "?", essence[:64])
        raise invalid_body(f'The body\'s Content-Type is "{shown}". Send application/json.')


def invalid_body(why: str) -> HttpError:
    return HttpError(400, "INVALID_BODY", why)
