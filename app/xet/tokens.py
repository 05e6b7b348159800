"""Xet access tokens: what an upload may do, sealed, so that the CAS routes look nothing up."""

from dataclasses import dataclass

from app.errors import Unauthorized
from app.hub import Hub
from app.signing import SealBroken, seal, unseal

_PURPOSE = "xet-write"


@dataclass(frozen=True, slots=True)
class XetGrantee:
    """Whose upload it is, and the repository that its files may be committed to."""

    account_id: int
    repo_id: int
    proposes: bool = False
    """The account may not write to the repository: it uploads for a pull request."""


def issue_token(hub: Hub, grantee: XetGrantee) -> tuple[str, int]:
    """A write token and when it expires, seconds since the epoch.

    The caller has checked the right to write, or to propose.
    """
    now, expires_s = hub.clock.now(), hub.settings.timers.upload_url_s
    claims = {"a": grantee.account_id, "r": grantee.repo_id, "p": grantee.proposes}
    token = seal(hub.secret, _PURPOSE, claims, now=now, expires_s=expires_s)
    return token, int(now.timestamp() + expires_s)


def read_token(hub: Hub, token: str) -> XetGrantee:
    """Who a token was issued to. Raises Unauthorized if it is not ours or has expired."""
    try:
        claims = unseal(hub.secret, _PURPOSE, token, now=hub.clock.now())
    except SealBroken as error:
        raise Unauthorized(f"Xet token: {error}; ask for a new one") from None
    return XetGrantee(account_id=claims["a"], repo_id=claims["r"], proposes=claims["p"])
