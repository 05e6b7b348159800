"""The only place that spells object keys."""

import uuid


def object_key(epoch: str) -> str:
    """A fresh key for bytes that will be read from: ``o/<epoch>/<2 hex>/<uuid>``."""
    name = uuid.uuid4().hex
    return f"o/{epoch}/{name[:2]}/{name}"


def staging_key(epoch: str) -> str:
    """A fresh key that a client may write to by presigned URL; consumed, never read from later."""
    name = uuid.uuid4().hex
    return f"s/{epoch}/{name[:2]}/{name}"
