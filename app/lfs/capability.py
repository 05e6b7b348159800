"""Capability URLs: what a sealed link allows, and nothing else.

A link carries method, repository, account, oid, size and expiry under the hub's seal. It names no
object key, so using it twice only offers the same bytes twice: identity is the oid, the second copy
is dropped, and other bytes are refused.
"""

from dataclasses import dataclass
from typing import Literal

from app.errors import Forbidden
from app.hub import Hub
from app.signing import SealBroken, seal, unseal

Action = Literal["PUT", "GET", "VERIFY", "PARTS"]

_PURPOSE = "lfs"


@dataclass(frozen=True, slots=True)
class Capability:
    """Leave to do one thing with one object of one repository."""

    action: Action
    repo_id: int
    account_id: int
    """0 for a download by nobody in particular."""
    sha256: bytes
    nbytes: int
    upload_id: str = ""
    """Of a multipart upload."""
    token_id: int = 0
    """On whose word it was issued; asked again when it is used."""
    proposes: bool = False
    """The account may not write to the repository: it uploads for a pull request."""

    @property
    def proposer(self) -> int | None:
        """The account, if it may only propose."""
        return self.account_id if self.proposes else None


def issue(hub: Hub, capability: Capability, *, expires_s: float) -> str:
    """The part of a URL that carries ``capability``."""
    claims = {
        "m": capability.action,
        "r": capability.repo_id,
        "a": capability.account_id,
        "o": capability.sha256.hex(),
        "n": capability.nbytes,
        "u": capability.upload_id,
        "p": capability.proposes,
        "t": capability.token_id,
    }
    return seal(hub.secret, _PURPOSE, claims, now=hub.clock.now(), expires_s=expires_s)


def read(hub: Hub, sealed: str, action: Action) -> Capability:
    """What a URL allows. Raises Forbidden if it is not ours, for something else or expired."""
    try:
        claims = unseal(hub.secret, _PURPOSE, sealed, now=hub.clock.now())
    except SealBroken as error:
        raise Forbidden(f"this link is not valid: {error}; ask the batch endpoint again") from None
    if claims["m"] != action:
        raise Forbidden("this link is for something else")
    return Capability(
        action=action,
        repo_id=claims["r"],
        account_id=claims["a"],
        sha256=bytes.fromhex(claims["o"]),
        nbytes=claims["n"],
        upload_id=claims["u"],
        proposes=claims["p"],
        token_id=claims["t"],
    )
