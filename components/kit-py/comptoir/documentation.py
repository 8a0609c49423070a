"""The OpenAPI description of the routes. `wit/service.wit` describes the format."""

import inspect
from collections.abc import Sequence
from typing import Any

from .reply import to_json
from .route import Options, Route
from .shape import fields_of, inner_schema, reference, shape_of

# The errors of every route of a service with a database.
STORAGE_ERRORS = {
    503: {
        "STORAGE_BUSY": "Too many writes are waiting.",
        "STORAGE_TIMED_OUT": "The database took too long.",
        "STORAGE_UNAVAILABLE": "The database is not available now.",
    },
}
BODY_ERRORS = {
    400: {"INVALID_BODY": "The body is not JSON."},
    413: {"BODY_TOO_LARGE": "The body is longer than 1 MiB."},
    422: {"INVALID_FIELD": "A field is missing, unknown or wrong. `details.field` is its path."},
}
QUERY_ERRORS = {400: {"INVALID_QUERY": "A parameter is missing, unknown or wrong. `details.field` is its name."}}

Named = dict[str, Any]


def documentation(routes: Sequence[Route], has_database: bool) -> str:
    """The document of a service, as a JSON text."""
    clients = [route for route in routes if route.access != "internal"]
    check_names(clients)
    named: Named = {}
    operations = {route.name: operation(route, named) for route in clients}
    errors = STORAGE_ERRORS if has_database else {}
    return to_json({"operations": operations, "schemas": named, "errors": errors})


def check_names(routes: Sequence[Route]) -> None:
    """Two dataclasses with one name would be one schema."""
    known: dict[str, type] = {}
    for cls in [cls for route in routes for cls in classes_of(route.options)]:
        if known.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(f"there are two types {cls.__name__}: rename one of them")


def classes_of(options: Options) -> list[type]:
    members = [options.get("body"), options.get("gives"), options.get("creates"), options.get("lists")]
    return [cls for cls in members if cls is not None]


def operation(route: Route, named: Named) -> dict[str, Any]:
    options = route.options
    described = {
        "operationId": operation_id(route),
        "summary": options.get("summary", operation_id(route).replace("_", " ").capitalize()),
        "description": options.get("description", inspect.getdoc(route.handler)),
        "parameters": parameters(options["query"], named) if "query" in options else None,
        "requestBody": {"required": True, "content": json(reference(options["body"], named))} if "body" in options else None,
        "responses": success(options, named),
        "errors": errors_of(options),
    }
    return {name: member for name, member in described.items() if member is not None}


def operation_id(route: Route) -> str:
    """The name of the handler. A lambda has none."""
    name = getattr(route.handler, "__name__", "<lambda>")
    parts = [part for part in route.path.replace("{", "").replace("}", "").split("/") if part]
    return "_".join([route.method, *parts]) if name == "<lambda>" else name


def parameters(query: type, named: Named) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": is_required, "schema": inner_schema(shape_of(hint), named)}
        for name, (hint, is_required) in fields_of(query).items()
    ]


def errors_of(options: Options) -> dict[int, dict[str, str]]:
    everything: dict[int, dict[str, str]] = {}
    for codes in [BODY_ERRORS if "body" in options else {}, QUERY_ERRORS if "query" in options else {}, options.get("errors", {})]:
        for status, meanings in codes.items():
            everything[status] = {**everything.get(status, {}), **meanings}
    return everything


def success(options: Options, named: Named) -> dict[str, Any]:
    if "creates" in options:
        return {"201": {"description": "Created.", "content": json(envelope(data=reference(options["creates"], named)))}}
    if "gives" in options:
        return {"200": {"description": "Success.", "content": json(envelope(data=reference(options["gives"], named)))}}
    if "lists" not in options:
        return {"2XX": {"description": "Success."}}
    items = {"type": "array", "items": reference(options["lists"], named)}
    count = {"type": "integer", "minimum": 0, "description": "Number of items in data."}
    return {"200": {"description": "A list.", "content": json(envelope(data=items, count=count))}}


def envelope(**members: Any) -> dict[str, Any]:
    """The envelope of a success with these members. It may have a `message`."""
    properties = {"success": {"const": True}, **members, "message": {"type": "string"}}
    return {"type": "object", "required": ["success", *members], "additionalProperties": False, "properties": properties}


def json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
