"""Whether what a link or Xet token was sealed for is still allowed: asked again at every use.

Sealed links outlive the request that made them by up to a day. The token they were made for may
have been revoked since, its user sent away, the repository closed.
"""

from sqlalchemy.orm import Session

from app.accounts.permissions import can_open, can_propose, can_read, can_write
from app.accounts.tokens import Principal, principal_of
from app.db.tables import Repo
from app.errors import Forbidden
from app.hub import Hub

WITHDRAWN = (
    "this link is not valid any more: its token was revoked or has expired, or access to the"
    " repository was withdrawn; ask for a new one"
)
"""One text for all reasons: a repository that was closed cannot be told from one that was deleted.
"""


def check_still_reads(session: Session, hub: Hub, token_id: int, repo_id: int) -> None:
    """Raise Forbidden unless the files of the repo are still open to a token.

    ``token_id``: 0 for a link that was made for nobody in particular.
    """
    repo, principal = _parties(session, hub, token_id, repo_id)
    if not (can_read(session, principal, repo) and can_open(session, principal, repo)):
        raise Forbidden(WITHDRAWN)


def check_still_sends(
    session: Session, hub: Hub, token_id: int, repo_id: int, *, proposes: bool
) -> None:
    """Raise Forbidden unless a token may still write, or propose, to the repo."""
    repo, principal = _parties(session, hub, token_id, repo_id)
    may = can_propose if proposes else can_write
    if not may(session, principal, repo):
        raise Forbidden(WITHDRAWN)


def _parties(
    session: Session, hub: Hub, token_id: int, repo_id: int
) -> tuple[Repo, Principal | None]:
    repo = session.get(Repo, repo_id)
    principal = principal_of(session, token_id, now=hub.clock.now())
    if repo is None or (token_id and principal is None):
        raise Forbidden(WITHDRAWN)
    return repo, principal
