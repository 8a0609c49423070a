"""Errors: those that a service raises as a reply, and those of the database."""

import re
import sys
import traceback
from typing import Any


class HttpError(Exception):
    """An error reply: `{"success":false,"error":{"code":…,"message":…}}`. Raise it in a handler.

    The client sees all of its fields. `details` is more data for programs, `retry_after` the seconds after which a retry makes
    sense. Names of headers are in lower case.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Any = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.headers = headers or {}


class StorageError(Exception):
    """Why a statement had no effect. A handler that does not catch it answers 503 or 500. The text is for the log alone.

    `kind` is `constraint`, `busy`, `denied`, `too-large`, `timed-out`, `invalid` or `unavailable`. `constraint` is the constraint that
    a write violates: `unique`, `foreign-key`, `check`, `not-null` or `other`. It is None for other kinds.
    """

    def __init__(self, kind: str, text: str | None = None) -> None:
        super().__init__(kind if text is None else f"{kind}: {text}")
        self.kind = kind
        self.constraint = text if kind == "constraint" else None


# The replies to storage errors for which a retry makes sense.
RETRIES = {
    "busy": ("STORAGE_BUSY", "Too many writes are waiting. Try again.", 1),
    "timed-out": ("STORAGE_TIMED_OUT", "The database took too long.", 1),
    "unavailable": ("STORAGE_UNAVAILABLE", "The database is not available now.", 5),
}


def http_error_of(error: Exception) -> HttpError:
    """The error reply for whatever a handler raises. Logs the cause of a 500."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, StorageError) and error.kind in RETRIES:
        code, message, retry_after = RETRIES[error.kind]
        return HttpError(503, code, message, retry_after=retry_after)
    print(f"internal error: {described(error)}", file=sys.stderr)
    return HttpError(500, "INTERNAL_ERROR", "The service failed. Your request is not the cause.")


def described(error: BaseException) -> str:
    """An error for the log, in one line: its type, its message, and where it was raised.

    Quoted texts are left out of the messages of unknown errors, because Python quotes values, and those can be secrets.
    """
    is_ours = isinstance(error, StorageError)
    text = str(error) if is_ours else re.sub(r"""(["'`]).*?\1""", r"\1…\1", str(error), flags=re.DOTALL)
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = [f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames)]
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", " at ".join([f"{type(error).__name__}: {text[:500]}", *places]))
