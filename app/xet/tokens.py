"""Xet access tokens: what an upload may do, sealed; whether it still may is asked at every use."""

from dataclasses import dataclass

from app.accounts.vouching import check_still_sends
from app.errors import Unauthorized
from app.hub import Hub
from app.signing import SealBroken, seal, unseal

_PURPOSE = "xet-write"


@dataclass(frozen=True, slots=True)
class XetGrantee:
    """Whose upload it is, and the repository that its files may be committed to."""

    account_id: int
    repo_id: int
    token_id: int = 0
    """On whose word the upload goes on; asked again at every request."""
    proposes: bool = False
    """The account may not write to the repository: it uploads for a pull request."""

    @property
    def proposer(self) -> int | None:
        """The account, if it may only propose."""
        return self.account_id if self.proposes else None


def issue_token(hub: Hub, grantee: XetGrantee) -> tuple[str, int]:
    """A write token and when it expires, seconds since the epoch.

    The caller has checked the right to write, or to propose.
    """
    now, expires_s = hub.clock.now(), hub.settings.timers.upload_url_s
    claims = {"a": grantee.account_id, "r": grantee.repo_id, "p": grantee.proposes}
    claims |= {"t": grantee.token_id}
    token = seal(hub.secret, _PURPOSE, claims, now=now, expires_s=expires_s)
    return token, int(now.timestamp() + expires_s)


def read_token(hub: Hub, token: str) -> XetGrantee:
    """Who a token was issued to.

    Raises Unauthorized if it is not ours or has expired, Forbidden if what it was
    issued for is not allowed any more.
    """
    try:
        claims = unseal(hub.secret, _PURPOSE, token, now=hub.clock.now())
    except SealBroken as error:
        raise Unauthorized(f"Xet token: {error}; ask for a new one") from None
    grantee = XetGrantee(
        account_id=claims["a"],
        repo_id=claims["r"],
        proposes=claims["p"],
        token_id=claims["t"],
    )
    with hub.db.read() as session:
        check_still_sends(
            session, hub, grantee.token_id, grantee.repo_id, proposes=grantee.proposes
        )
    return grantee
