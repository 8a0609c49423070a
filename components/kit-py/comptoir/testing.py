"""A stand-in for the host, for tests of a service in Python, from request to row: `python -m unittest`.

It has an SQLite database in memory, enforces the access of each route, and hides undeclared headers. It has no limits: the host's
own tests cover those. It keeps one service at a time.
"""

import json
import sqlite3
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .native import wit
from .native.gate import admit

__all__ = ["Installed", "TestReply", "install"]


@dataclass(frozen=True)
class TestReply:
    """A reply of the service."""

    __test__ = False
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def body(self) -> Any:
        """The body as JSON. None for another content type."""
        return json.loads(self.content) if self.headers.get("content-type") == "application/json" else None

    @property
    def outcome(self) -> tuple[int, str | None]:
        """The status, and the code of an error."""
        body = self.body
        error = body.get("error") if isinstance(body, dict) else None
        return self.status, error["code"] if error else None


class Installed:
    """A service with its database."""

    def __init__(self, app: ModuleType | Any) -> None:
        self.handler = app.Handler()
        self.description = app.Service().describe()
        self.database: sqlite3.Connection = wit.install([migration.sql for migration in self.description.migrations])

    def get(self, path: str, **options: Any) -> TestReply:
        return self.send("get", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> TestReply:
        return self.send("post", path, body, **options)

    def put(self, path: str, body: Any, **options: Any) -> TestReply:
        return self.send("put", path, body, **options)

    def patch(self, path: str, body: Any, **options: Any) -> TestReply:
        return self.send("patch", path, body, **options)

    def delete(self, path: str, **options: Any) -> TestReply:
        return self.send("delete", path, **options)

    def send(
        self,
        method: str,
        target: str,
        body: Any = b"",
        *,
        by: str | None = None,
        role: str = "user",
        service: str | None = None,
        session_ended: bool = False,
        headers: dict[str, str] | None = None,
    ) -> TestReply:
        """Sends a request. The body becomes JSON, except bytes, which are sent unchanged and without a content type.

        `by` is the caller's username, and `role` its role. `service` makes another service of the host the caller. `session_ended` ends
        the caller's session after the host admitted the request. Names of headers are in lower case.
        """
        sent = {} if isinstance(body, bytes) else {"content-type": "application/json"}
        sent |= {"x-user-id": by, "x-user-role": role} if by else {}
        sent |= {"x-comptoir-caller": service} if service else {}
        encoded = [(name, value.encode()) for name, value in (sent | (headers or {})).items()]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = wit.handler.Request(wit.service.Method[method.upper()], target, encoded, content)
        wit.session.ended = session_ended
        response = admit(self.description, request) or self.handler.handle(request)
        return TestReply(response.status, {name: value.decode() for name, value in response.headers}, bytes(response.body))


def install(app: ModuleType | Any) -> Installed:
    """Installs a service with a new database, and runs its migrations: `import app; todos = install(app)`."""
    return Installed(app)
