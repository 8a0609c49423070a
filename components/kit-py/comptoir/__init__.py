"""The kit for Comptoir services in Python. `components/examples/todo-py` is a service that uses all of it.

Every JSON reply has the envelope: `{"success":true,…}` or `{"success":false,"error":{…}}`. The cause of a 5xx goes to the log
(stderr), never into the reply.
"""

from .errors import HttpError, StorageError
from .reply import Reply, created, empty, listing, message, ok, raw, redirect
from .request import Caller, Request
from .route import Route, delete, get, patch, post, put
from .service import Probe, define_service
from .rows import Row, Value
from .storage import Transaction, begin, execute, query, query_one, transaction
from .shape import Length, Range

__all__ = [
    "Caller", "HttpError", "Length", "Probe", "Range", "Reply", "Request", "Route", "Row", "StorageError", "Transaction", "Value",
    "begin", "created", "define_service", "delete", "empty", "execute", "get", "listing", "message", "ok", "patch", "post", "put",
    "query", "query_one", "raw", "redirect", "transaction",
]
