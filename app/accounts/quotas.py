"""Quotas: how much an account or a repository may have, counted in logical bytes.

Logical, because what deduplication saves would tell what others have. A version of a file counts
once in each repository whose history, or whose writers' uploads, hold it, until it is collected.
Pull requests of readers count for who proposes, not for the owner, until they are merged. Checks
run in the transaction that adds, with the account's row locked: uploads side by side do not pass
together what each would pass alone. What repositories hold and accounts propose is not counted but
kept up (``app.accounts.usage``, ``app.accounts.proposing``).
"""

from dataclasses import dataclass, fields, replace

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.names import name_key
from app.accounts.proposing import proposed_nbytes, read_proposed
from app.accounts.usage import Held, read_usage, usage_of
from app.accounts.users import find_account
from app.db.tables import Account, Quota, Repo
from app.errors import InvalidRequest, NotFound, QuotaExceeded
from app.hub import Hub

MOST = 1 << 62
"""Of what is not bounded."""

_PREFIXES = {"datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True, slots=True)
class Amounts:
    """Bounds, or what is used of them. None: not bounded."""

    nbytes: int | None = None
    files: int | None = None
    repos: int | None = None
    proposed_nbytes: int | None = None


def set_quota(hub: Hub, target: str, amounts: Amounts) -> Amounts:
    """Bound an account, or a repo (``[datasets/]owner/name``); what is None stays as it was.

    0 takes a bound away. Returns all bounds of the target. Raises NotFound, InvalidRequest.
    """
    if any(value is not None and value < 0 for value in _values(amounts)):
        raise InvalidRequest("a quota is not negative; 0 takes it away")

    def work(session: Session) -> Amounts:
        account, repo = _find(session, target)
        row = _row(session, account, repo)
        if row is None:
            row = Quota(
                account_id=account.id if account else None, repo_id=repo.id if repo else None
            )
            session.add(row)
        for each in fields(Amounts):
            value = getattr(amounts, each.name)
            if value is not None:
                setattr(row, each.name, value or None)
        session.flush()
        note(session, hub, "quota.set", target, repr(_amounts(row)))
        return _amounts(row)

    return hub.db.run(work)


def read_quota(session: Session, hub: Hub, target: str) -> tuple[Amounts, Amounts]:
    """Bounds of an account or repo, the hub's defaults among them, and what is used. NotFound."""
    account, repo = _find(session, target)
    if repo is not None:
        held = read_usage(session, select(Repo.id).where(Repo.id == repo.id))
        used = Amounts(nbytes=held.nbytes, files=held.files)
        return _bounds_of_repo(session, hub, repo), used
    assert account is not None
    return _bounds_of_account(session, hub, account), _used_by_account(session, account.id)


def check_new_repo(session: Session, hub: Hub, owner: Account) -> None:
    """Raise QuotaExceeded if an account has more repos than it may, the one just made included."""
    most = _bounds_of_account(session, hub, owner).repos
    if most is not None:
        _lock(session, owner.id)
        count = select(func.count()).select_from(Repo).where(Repo.namespace_id == owner.id)
        _compare(f"{owner.name}, repositories", int(session.scalar(count) or 0), most)


def check_room(
    session: Session, hub: Hub, repo: Repo, *, nbytes: int = 0, files: int = 0, proposer: int | None
) -> None:
    """Raise QuotaExceeded if what a repo holds, and so much more, is beyond a bound."""
    if proposer is not None:
        _check_proposals(session, hub, proposer, nbytes)
        return
    owner = session.get_one(Account, repo.namespace_id)
    whose = (
        (repo.key, _bounds_of_repo(session, hub, repo), select(Repo.id).where(Repo.id == repo.id)),
        (owner.name, _bounds_of_account(session, hub, owner), _repos_of(owner.id)),
    )
    for name, bounds, repos in whose:
        if bounds.nbytes is None and bounds.files is None:
            continue
        _lock(session, owner.id)
        room = Held(
            (MOST if bounds.nbytes is None else bounds.nbytes) - nbytes,
            (MOST if bounds.files is None else bounds.files) - files,
        )
        used = usage_of(session, repos, beyond=room)
        _compare(f"{name}, bytes", used.nbytes + nbytes, bounds.nbytes)
        _compare(f"{name}, files", used.files + files, bounds.files)


def _check_proposals(session: Session, hub: Hub, proposer: int, nbytes: int) -> None:
    account = session.get_one(Account, proposer)
    most = _bounds_of_account(session, hub, account).proposed_nbytes
    if most is not None:
        used = proposed_nbytes(session, proposer, room=most - nbytes)
        _compare(f"{account.name}, bytes in pull requests", used + nbytes, most)


def _lock(session: Session, account_id: int) -> None:
    """Locked in this statement, measured in the next."""
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())


def _compare(what: str, amount: int, most: int | None) -> None:
    if most is not None and amount > most:
        raise QuotaExceeded(f"{amount} would be more than the {most} allowed", quota=what)


def _bounds_of_account(session: Session, hub: Hub, account: Account) -> Amounts:
    defaults = hub.settings.quotas
    row = _row(session, account, None)
    own = Amounts() if row is None else _amounts(row)
    return Amounts(
        nbytes=own.nbytes or defaults.account_nbytes,
        files=own.files or defaults.account_files,
        repos=own.repos or defaults.account_repos,
        proposed_nbytes=own.proposed_nbytes or defaults.proposed_nbytes,
    )


def _bounds_of_repo(session: Session, hub: Hub, repo: Repo) -> Amounts:
    defaults = hub.settings.quotas
    row = _row(session, None, repo)
    own = Amounts() if row is None else _amounts(row)
    return replace(
        own, nbytes=own.nbytes or defaults.repo_nbytes, files=own.files or defaults.repo_files
    )


def _used_by_account(session: Session, account_id: int) -> Amounts:
    repos = _repos_of(account_id)
    held = read_usage(session, repos)
    return Amounts(
        nbytes=held.nbytes,
        files=held.files,
        repos=int(session.scalar(select(func.count()).select_from(repos.subquery())) or 0),
        proposed_nbytes=read_proposed(session, account_id),
    )


def _repos_of(account_id: int) -> Select[int]:
    return select(Repo.id).where(Repo.namespace_id == account_id)


def _find(session: Session, target: str) -> tuple[Account | None, Repo | None]:
    first, _, rest = target.partition("/")
    kind, full = (_PREFIXES[first], rest) if first in _PREFIXES else ("model", target)
    if "/" in full:
        repo = session.scalar(select(Repo).where(Repo.key == f"{kind}/{name_key(full)}"))
        if repo is not None:
            return None, repo
    account = find_account(session, target)
    if account is None:
        raise NotFound(f"no account or repository {target!r}")
    return account, None


def _row(session: Session, account: Account | None, repo: Repo | None) -> Quota | None:
    if repo is not None:
        return session.scalar(select(Quota).where(Quota.repo_id == repo.id))
    assert account is not None
    return session.scalar(select(Quota).where(Quota.account_id == account.id))


def _amounts(row: Quota) -> Amounts:
    return Amounts(**{each.name: getattr(row, each.name) for each in fields(Amounts)})


def _values(amounts: Amounts) -> list[int | None]:
    return [getattr(amounts, each.name) for each in fields(Amounts)]
