"""Open the store that a URL names, wrapped as the hub uses it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.store.contract import ObjectStore
from app.store.guarded import GuardedStore
from app.store.local import LocalStore
from app.store.memory import MemoryStore
from app.store.metered import MeteredStore
from app.store.retry import RetryPolicy
from app.store.retrying import RetryingStore
from app.store.s3_location import S3Location


def open_store(
    url: str, *, access_key: str | None = None, secret_key: str | None = None
) -> ObjectStore:
    """The store at ``url``: guarded, retrying, metered (each try counts as a request).

    ``file:///directory``, ``memory://`` (a new one each time), or
    ``s3://bucket/prefix?endpoint=http://host:port&region=…``, whose keys default to boto3's own
    chain. ValueError for anything else.
    """
    inner = _open(url, access_key, secret_key)
    return GuardedStore(RetryingStore(MeteredStore(inner)))


def _open(url: str, access_key: str | None, secret_key: str | None) -> ObjectStore:
    parsed = urlsplit(url)
    match parsed.scheme:
        case "memory":
            return MemoryStore()
        case "file" if not parsed.netloc and parsed.path:
            return LocalStore(Path(unquote(parsed.path)))
        case "s3":
            from app.store.s3 import S3Store  # boto3 takes a second to import

            store = S3Store(S3Location.parse(url), access_key=access_key, secret_key=secret_key)
            RetryPolicy().call(store.ensure_bucket)
            return store
    raise ValueError(f"not a store URL (file:///dir, s3://bucket, memory://): {url!r}")
