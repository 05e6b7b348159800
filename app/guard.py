"""No store I/O inside a database transaction: the flag that holds the rule.

A transaction that waits for S3 holds row locks for seconds and, on PostgreSQL, a snapshot that the
garbage collector's second look would not see past. ``app.db`` opens a section for every
transaction; every object store calls :func:`forbid_in_transaction` first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_open_transactions: ContextVar[int] = ContextVar("open_transactions", default=0)


@contextmanager
def transaction_section() -> Iterator[None]:
    """Mark the calling context as being inside a database transaction."""
    token = _open_transactions.set(_open_transactions.get() + 1)
    try:
        yield
    finally:
        _open_transactions.reset(token)


def forbid_in_transaction(operation: str) -> None:
    """Raise if the calling context has a transaction open: a bug of ours, hence RuntimeError."""
    if _open_transactions.get():
        raise RuntimeError(f"store.{operation} inside a database transaction")
