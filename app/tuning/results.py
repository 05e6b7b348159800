"""What a trainer hands in for a job: checkpoints, its table of losses, and where it may publish."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, cast

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.accounts.tokens import OrgRole, Principal
from app.catalog.listing import list_files
from app.catalog.naming import repo_key
from app.catalog.refs import resolve_revision
from app.catalog.repos import find_readable_repo
from app.db.tables import (
    Account,
    Membership,
    Repo,
    TokenScope,
    TuningCheckpoint,
    TuningFile,
    TuningJob,
)
from app.errors import Conflict, ContentNotFound, NotFound, RepoNotFound
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.stream import ingest_stream
from app.restore.footprint import measure_footprint
from app.restore.homes import Home
from app.tuning.creating import MERGED
from app.tuning.fencing import fenced
from app.tuning.naming import new_name
from app.tuning.shelf import SHELF, check_here, have_shelf, put_on_shelf, release
from app.tuning.states import tell

KEPT = 2
"""Checkpoints of a job: the newest, and the one before in case that one cannot be read."""
KEPT_WHOLE = 1
"""Of a whole model, which with its optimizer's state takes several times the model's bytes."""

Form = Literal["adapter", "merged", "full"]


class Place(NamedTuple):
    """A repository to publish one form of a result to."""

    repo: str
    form: Form
    private: bool


def keep_checkpoint(
    hub: Hub,
    name: str,
    fence: int,
    step: int,
    metrics: Mapping[str, Any],
    chunks: Iterable[bytes],
    nbytes: int,
) -> None:
    """Store a state to go on from; durable when this returns, older ones go.

    Raises LeaseLost, IntegrityError, QuotaExceeded, StorageFull; those before stay then.
    """
    with hub.db.read() as session:
        owner = _owner(session, fenced(session, hub, name, fence)[0])
    repo_id = have_shelf(hub, owner)
    stored = ingest_stream(hub, chunks, nbytes=nbytes, sha256=None, repo_id=repo_id)

    def work(session: Session) -> None:
        job, lease = fenced(session, hub, name, fence)
        check_here(session, stored.file_id)
        of_job = select(TuningCheckpoint).where(TuningCheckpoint.job_id == job.id)
        for same in session.scalars(of_job.where(TuningCheckpoint.step == step)).all():
            drop_checkpoint(session, same)
        session.add(
            TuningCheckpoint(
                name=new_name("ftckpt"),
                job_id=job.id,
                step=step,
                file_id=stored.file_id,
                nbytes=stored.nbytes,
                metrics=json.dumps(metrics),
                created_at=hub.clock.now(),
            )
        )
        session.flush()
        lease.attempts = 0
        most = KEPT_WHOLE if job.is_full else KEPT
        older = of_job.order_by(TuningCheckpoint.step.desc()).offset(most)
        for old in session.scalars(older).all():
            drop_checkpoint(session, old)
        tell(session, hub, job, f"Checkpoint created at step {step}")

    hub.db.run(work)


def drop_checkpoint(session: Session, checkpoint: TuningCheckpoint) -> None:
    """Forget a state, which is counted to its owner's shelf no more."""
    job = session.get_one(TuningJob, checkpoint.job_id)
    owner = session.get_one(Account, job.owner_id)
    shelf = select(Repo.id).where(Repo.key == repo_key("dataset", owner.name, SHELF))
    session.delete(checkpoint)
    session.flush()
    repo_id = session.scalar(shelf)
    if repo_id is not None:
        release(session, repo_id, checkpoint.file_id)


def find_checkpoint(
    session: Session, hub: Hub, name: str, fence: int, step: int
) -> TuningCheckpoint:
    """A state to go on from. Raises LeaseLost, ContentNotFound."""
    job, _ = fenced(session, hub, name, fence)
    found = session.scalar(
        select(TuningCheckpoint).where(
            TuningCheckpoint.job_id == job.id, TuningCheckpoint.step == step
        )
    )
    if found is None:
        raise ContentNotFound(f"{name} has no checkpoint of step {step}")
    return found


def find_data(
    session: Session, hub: Hub, name: str, fence: int, which: Literal["training", "validation"]
) -> TuningFile:
    """A file that a job is trained or judged on. Raises LeaseLost, ContentNotFound."""
    job, _ = fenced(session, hub, name, fence)
    file_id = job.training_file_id if which == "training" else job.validation_file_id
    if file_id is None:
        raise ContentNotFound(f"{name} has no {which} file, or it was deleted")
    return session.get_one(TuningFile, file_id)


def keep_results(hub: Hub, name: str, fence: int, chunks: Iterable[bytes]) -> None:
    """Store a job's table of losses as one of its owner's files. Raises as keep_checkpoint."""
    with hub.db.read() as session:
        job, _ = fenced(session, hub, name, fence)
        owner = _owner(session, job)
    filename = f"{name}-results.csv"
    row = put_on_shelf(
        hub,
        chunks,
        owner_id=owner.account_id,
        repo_id=have_shelf(hub, owner),
        filename=filename,
        purpose="fine-tune-results",
    )

    def work(session: Session) -> None:
        job, _ = fenced(session, hub, name, fence)
        job.result_file_id = row.id

    hub.db.run(work)


def open_publication(hub: Hub, name: str, fence: int) -> list[Place]:
    """Make the repositories that a result goes to, and let the claim's token write there.

    Raises LeaseLost, Forbidden if the job's owner may not write there any more.
    """
    with hub.db.read() as session:
        job, _ = fenced(session, hub, name, fence)
        owner = _owner(session, job)
    places = list(_places(job))
    for place in places:
        namespace, _, repo = place.repo.partition("/")
        with hub.db.read() as session:
            is_there = session.scalar(select(exists().where(Repo.key == _key(place))))
        if not is_there:
            with suppress(Conflict):  # somebody else made it
                create_repo(hub, owner, "model", namespace, repo, private=place.private)

    def work(session: Session) -> None:
        _, lease = fenced(session, hub, name, fence)
        for place in places:
            repo_id = session.scalar(select(Repo.id).where(Repo.key == _key(place)))
            if repo_id is None:
                raise RepoNotFound(f"{place.repo} was deleted meanwhile")
            session.add(TokenScope(token_id=lease.token_id, repo_id=repo_id, writes=True))

    hub.db.run(work)
    return places


def _places(job: TuningJob) -> Iterable[Place]:
    wish = json.loads(job.request)["wishes"]["publish"]
    if job.is_full:
        yield Place(job.target, "full", wish["private"])
        return
    if wish["form"] in {"adapter", "both"}:
        yield Place(job.target, "adapter", wish["private"])
    if wish["form"] in {"merged", "both"}:
        ending = MERGED if wish["form"] == "both" else ""
        yield Place(job.target + ending, "merged", wish["private"])


def _key(place: Place) -> str:
    namespace, _, name = place.repo.partition("/")
    return repo_key("model", namespace, name)


def _owner(session: Session, job: TuningJob) -> Principal:
    """Who a job is done for, as far as that is his own business: never as an administrator."""
    account = session.get_one(Account, job.owner_id)
    orgs = session.scalars(select(Membership).where(Membership.user_id == account.id)).all()
    return Principal(
        account_id=account.id,
        name=account.name,
        role="write",
        is_admin=False,
        orgs={each.org_id: cast("OrgRole", each.role) for each in orgs},
        fullname=account.fullname or account.name,
        email=account.email,
        token_name=job.name,
        token_created_at=job.created_at,
    )


def weigh(session: Session, caller: Principal, repo: str, commit: str) -> dict[str, Any]:
    """What a published result takes in the store; nothing of one that the caller cannot see."""
    namespace, _, name = repo.partition("/")
    try:
        found = find_readable_repo(session, caller, "model", namespace, name)
        tree = resolve_revision(session, found, commit).tree_oid
    except NotFound:
        return {}
    entries = list_files(session, found.id, tree)
    footprint = measure_footprint(session, caller, Home("model", repo), entries)
    return {
        "logical_nbytes": footprint.logical_nbytes,
        "stored_nbytes": footprint.stored_nbytes,
        "is_settled": footprint.is_settled,
    }
