"""The host's gate, as far as a service can see it: the access of routes, and undeclared headers."""

from typing import Any

from ..errors import HttpError
from ..path import generality, matches
from ..reply import failed

# The headers that every route sees.
ALWAYS = {"x-user-id", "x-user-role", "x-session-id", "x-comptoir-caller", "content-type", "content-length"}


def admit(description: Any, request: Any) -> Any:
    """The reply to a caller whom the route does not admit. None if it does: then removes the headers that it does not declare.

    Health and unknown routes pass, because the service answers those itself.
    """
    path, _, _ = request.target.partition("?")
    here = [route for route in description.routes if route.method == request.method and matches(route.path, path)]
    if not here or path == description.health:
        return None
    route = min(here, key=lambda each: generality(each.path))
    refusal = refusal_of(route.access.name, dict(request.headers))
    if refusal is not None:
        return failed(refusal).to_record()
    seen = ALWAYS | set(route.headers)
    request.headers = [(name, value) for name, value in request.headers if name in seen]
    return None


def refusal_of(access: str, headers: dict[str, bytes]) -> HttpError | None:
    is_service = "x-comptoir-caller" in headers
    if access == "INTERNAL":
        return None if is_service else HttpError(404, "NOT_FOUND", "There is no route for this path.")
    if is_service:
        return HttpError(403, "FORBIDDEN", "Services may call internal routes only.")
    if access == "PUBLIC":
        return None
    if "x-user-id" not in headers:
        return HttpError(401, "MISSING_TOKEN", "This request needs a bearer token.")
    if access == "ADMIN" and headers.get("x-user-role") != b"admin":
        return HttpError(403, "FORBIDDEN", "This request needs the role admin.")
    return None
