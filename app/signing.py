"""Sealed claims: short JSON facts that the hub hands out and believes when they come back.

A seal is ``base64url(nonce, hidden JSON) . base64url(HMAC-SHA256)`` under the instance secret (RFC
2104, cut to 128 bits as its section 5 allows). ``purpose`` goes into the MAC, so that a seal made
for one use opens nothing else. The JSON, padded, is hidden under the output of keyed BLAKE3 for the
nonce and then signed: ids of rows and places in packs, counted over all users, must not show.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from blake3 import blake3

MAC_NBYTES = 16
NONCE_NBYTES = 16

PADDED_NBYTES = 96
"""Claims are padded to a multiple, so that the length of a number does not show."""

EXPIRY = "x"
"""Claim that holds the expiry, seconds since the epoch."""


class SealBroken(Exception):
    """The text is no seal of ours, was made for another purpose, or has expired."""


def seal(
    secret: bytes,
    purpose: str,
    claims: Mapping[str, int | str],
    *,
    now: datetime,
    expires_s: float,
) -> str:
    """Hide and sign ``claims`` for ``expires_s`` seconds."""
    facts = {**claims, EXPIRY: int(now.timestamp() + expires_s)}
    plain = json.dumps(facts, separators=(",", ":"), sort_keys=True).encode()
    nonce = secrets.token_bytes(NONCE_NBYTES)
    padded = plain.ljust(-(-len(plain) // PADDED_NBYTES) * PADDED_NBYTES)
    body = nonce + _hidden(secret, nonce, padded)
    return f"{_text(body)}.{_text(_mac(secret, purpose, body))}"


def unseal(secret: bytes, purpose: str, sealed: str, *, now: datetime) -> dict[str, Any]:
    """The claims of a seal that is ours and has not expired. Raises :class:`SealBroken`."""
    body_text, _, mac_text = sealed.partition(".")
    try:
        body, mac = _bytes(body_text), _bytes(mac_text)
    except (binascii.Error, ValueError) as error:
        raise SealBroken("not a seal") from error
    if not hmac.compare_digest(mac, _mac(secret, purpose, body)):
        raise SealBroken("not signed by this hub for this use")
    nonce, hidden = body[:NONCE_NBYTES], body[NONCE_NBYTES:]
    claims: dict[str, Any] = json.loads(_hidden(secret, nonce, hidden))
    if claims[EXPIRY] <= now.timestamp():
        raise SealBroken("expired")
    return claims


def tag(secret: bytes, purpose: str, subject: str) -> str:
    """A short, stable name for ``subject`` that tells nothing about it: 16 hex digits."""
    return _mac(secret, purpose, subject.encode())[:8].hex()


def _hidden(secret: bytes, nonce: bytes, data: bytes) -> bytes:
    """``data`` under the key stream of a nonce; the same again takes it off."""
    key = hmac.new(secret, b"seal key stream", hashlib.sha256).digest()
    stream = blake3(nonce, key=key).digest(length=len(data))
    return (int.from_bytes(data) ^ int.from_bytes(stream)).to_bytes(len(data))


def _mac(secret: bytes, purpose: str, body: bytes) -> bytes:
    message = purpose.encode() + b"\0" + body
    return hmac.new(secret, message, hashlib.sha256).digest()[:MAC_NBYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
