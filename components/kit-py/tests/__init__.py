"""Tests of the kit without a host: `python -m unittest discover`, in the folder above."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from types import SimpleNamespace
from typing import Any

from comptoir import Route, define_service
from comptoir.testing import Installed, install

TABLE = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, size REAL, raw BLOB) STRICT"


def serve(*routes: Route) -> Installed:
    """A service of the given routes."""
    Service, Handler = define_service("things", migrations=[TABLE], routes=routes)
    return install(SimpleNamespace(Service=Service, Handler=Handler))


def log_of(work: Callable[[], Any]) -> str:
    """What the work writes to stderr."""
    with redirect_stderr(io.StringIO()) as log:
        work()
    return log.getvalue()
