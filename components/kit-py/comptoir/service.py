"""A service: its description for the host, and the dispatch of requests to its routes."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from . import host, storage
from .documentation import documentation
from .errors import HttpError, described, http_error_of
from .path import generality, matches
from .reply import Reply, bare, failed, to_json
from .request import Request
from .route import Route


@dataclass(frozen=True)
class Probe:
    """A request that must succeed (2xx) before a new revision serves. The host rolls its writes back.

    `caller` is the username of a caller with the role `user`. `body` becomes JSON.
    """

    method: Literal["get", "post", "put", "patch", "delete"]
    path: str
    caller: str | None = None
    body: Any = None


@dataclass(frozen=True)
class Definition:
    """What a service consists of."""

    name: str
    routes: Sequence[Route]
    version: str = "0.1.0"
    health: str = "/health"
    migrations: Sequence[str] = ()
    schema: tuple[int, int] | None = None
    probes: Sequence[Probe] = field(default=())

    def __post_init__(self) -> None:
        names = [re.sub(r"\{[^/]*\}", "{}", route.name) for route in self.routes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two routes are {name}")


def define_service(
    name: str,
    *,
    routes: Sequence[Route],
    version: str = "0.1.0",
    health: str = "/health",
    migrations: Sequence[str] = (),
    schema: tuple[int, int] | None = None,
    probes: Sequence[Probe] = (),
) -> tuple[type, type]:
    """Defines a service: `Service, Handler = define_service(…)`. The host finds these classes in `app.py` by their names.

    - `name` is in the health response, and `health` is its path. `version` is for people.
    - `migrations` are the SQL of schema version 1, 2, … A service without migrations has no database.
    - `schema` has the lowest and the highest schema version that the code works with. By default only the last migration's.
    - `probes` are requests that must succeed before a new revision serves.
    - `routes` are all routes except health.
    """
    definition = Definition(name, routes, version, health, migrations, schema, probes)
    description = describe(definition)

    class Service:
        def describe(self) -> Any:
            return description

    class Handler:
        def handle(self, request: Any) -> Any:
            return answer(definition, request).to_record()

    return Service, Handler


def describe(definition: Definition) -> Any:
    """The record `description` of `wit/service.wit`."""
    wit = host.service
    last = len(definition.migrations)
    return wit.Description(
        name=definition.name,
        version=definition.version,
        health=definition.health,
        routes=[
            wit.Route(method_of(route.method), route.path, wit.Access[route.access.upper()], route.options.get("headers", []))
            for route in definition.routes
        ],
        migrations=[wit.Migration(number, sql) for number, sql in enumerate(definition.migrations, 1)],
        schema=wit.SchemaRange(*(definition.schema or (last, last))),
        probes=[
            wit.Probe(method_of(probe.method), probe.path, probe.caller, None if probe.body is None else to_json(probe.body))
            for probe in definition.probes
        ],
        documentation=documentation(definition.routes, last > 0),
    )


def method_of(name: str) -> Any:
    return host.service.Method[name.upper()]


def answer(definition: Definition, raw: Any) -> Reply:
    path, _, _ = raw.target.partition("?")
    method = raw.method.name.lower()
    if method == "get" and path == definition.health:
        return health_reply(definition)
    try:
        route = find(definition.routes, method, path)
        return checked_reply(route, route.handler(Request(raw, route)))
    except Exception as error:  # noqa: BLE001: whatever a handler raises becomes a reply
        return failed(http_error_of(error))


def checked_reply(route: Route, reply: Any) -> Reply:
    """A value that cannot become JSON fails here, where it becomes a 500."""
    if not isinstance(reply, Reply):
        raise TypeError(f"the handler of {route.name} returned no reply, such as ok(data) or empty()")
    if reply.envelope is not None:
        reply.body, reply.envelope = to_json(reply.envelope), None
    return reply


def find(routes: Sequence[Route], method: str, path: str) -> Route:
    """The most specific route for a method and a path. Raises 404 or 405."""
    here = [route for route in routes if matches(route.path, path)]
    found = [route for route in here if route.method == method]
    if found:
        return min(found, key=lambda route: generality(route.path))
    if not here:
        raise HttpError(404, "NOT_FOUND", "There is no route for this path.")
    allow = ", ".join(dict.fromkeys("GET, HEAD" if route.method == "get" else route.method.upper() for route in here))
    message = "This path does not support this method."
    raise HttpError(405, "METHOD_NOT_ALLOWED", message, headers={"allow": allow})


def health_reply(definition: Definition) -> Reply:
    """A service with a database is healthy if the database responds."""
    try:
        if definition.migrations:
            storage.query("SELECT 1")
        return bare(200, {"status": "healthy", "service": definition.name})
    except Exception as error:  # noqa: BLE001: the database does not respond, whatever the reason
        print(f"health check failed: the database does not respond: {described(error)}", file=sys.stderr)
        return bare(503, {"status": "unhealthy", "service": definition.name})
