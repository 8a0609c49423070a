"""The host's interfaces: in a component the real ones, elsewhere the stand-in of `native`."""

try:
    from componentize_py_types import Err
    from wit_world.exports import handler, service
    from wit_world.imports import session, storage
except ModuleNotFoundError:
    from .native.wit import Err, handler, service, session, storage  # type: ignore[assignment]

__all__ = ["Err", "handler", "service", "session", "storage"]
