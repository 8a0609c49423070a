"""The route table. The host routes and checks access by it, and the kit dispatches by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from .reply import Reply
from .request import Request

Access = Literal["public", "user", "admin", "internal"]
Handler = Callable[[Request], Reply]


class Options(TypedDict, total=False):
    """What a route reads and answers, for the checks and for the OpenAPI document."""

    headers: list[str]
    """The request headers that the route reads, in lower case. The host removes all others, except those about the caller and the
    body."""
    summary: str
    """A few words. By default, those of the handler's name."""
    description: str
    """By default, the handler's docstring."""
    body: type
    """The dataclass of the JSON body: `request.json()` reads it."""
    query: type
    """The dataclass of the query: `request.query_fields()` reads it."""
    gives: type
    """200 with `data` of this dataclass."""
    creates: type
    """201 with `data` of this dataclass."""
    lists: type
    """200 with a list of this dataclass as `data`, and `count`."""
    errors: dict[int, dict[str, str]]
    """The error codes of the route by status, with their meanings."""


@dataclass(frozen=True)
class Route:
    """One method of one path, with its access and its handler."""

    method: str
    path: str
    access: Access
    handler: Handler
    options: Options

    def __post_init__(self) -> None:
        """Fails at the build, not at the first request."""
        if not self.path.startswith("/"):
            raise ValueError(f"{self.name}: the path of a route begins with /")
        if self.access not in ("public", "user", "admin", "internal"):
            raise ValueError(f"{self.name}: the access is {self.access}, but must be public, user, admin or internal")

    @property
    def name(self) -> str:
        """For messages and for the document, such as `POST /todos`."""
        return f"{self.method.upper()} {self.path}"


def get(path: str, access: Access, handler: Handler, **options: Unpack[Options]) -> Route:
    """A route for GET. It also serves HEAD: the host sends the reply without its body.

    `{id}` in the path matches any segment, and is `request.param("id")`.
    """
    return Route("get", path, access, handler, options)


def post(path: str, access: Access, handler: Handler, **options: Unpack[Options]) -> Route:
    """A route for POST."""
    return Route("post", path, access, handler, options)


def put(path: str, access: Access, handler: Handler, **options: Unpack[Options]) -> Route:
    """A route for PUT."""
    return Route("put", path, access, handler, options)


def patch(path: str, access: Access, handler: Handler, **options: Unpack[Options]) -> Route:
    """A route for PATCH."""
    return Route("patch", path, access, handler, options)


def delete(path: str, access: Access, handler: Handler, **options: Unpack[Options]) -> Route:
    """A route for DELETE."""
    return Route("delete", path, access, handler, options)
