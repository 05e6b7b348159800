"""The only place that spells object keys."""

import re
import uuid

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def object_key(epoch: str) -> str:
    """A fresh key for bytes that will be read from: ``o/<epoch>/<2 hex>/<uuid>``."""
    name = uuid.uuid4().hex
    return f"o/{epoch}/{name[:2]}/{name}"


def staging_key(epoch: str) -> str:
    """A fresh key that a client may write to by presigned URL; consumed, never read from later."""
    name = uuid.uuid4().hex
    return f"s/{epoch}/{name[:2]}/{name}"


def check_key(key: str) -> str:
    """The key itself if it is one that we could have made; ValueError otherwise.

    No part is empty or starts with a dot, so no key leaves the store's directory or its prefix.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not an object key: {key!r}")
    return key
