"""A job is made: what it names is there, its owner may use it, and nobody asks too much."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.names import check_name
from app.accounts.permissions import can_create, can_write
from app.accounts.tokens import Principal
from app.accounts.users import find_account
from app.catalog.mirrored import check_not_mirrored
from app.catalog.naming import repo_key
from app.catalog.refs import resolve_revision
from app.catalog.repos import check_open, find_readable_repo, repo_id
from app.db.tables import Account, Repo, TuningFile, TuningJob, TuningLease
from app.errors import ContentNotFound, Forbidden, InvalidRequest, LimitExceeded, RepoNotFound
from app.hub import Hub
from app.tuning.naming import new_name
from app.tuning.shelf import find_file
from app.tuning.states import FINAL, tell
from app.tuning.wishes import Wishes

MERGED = "-merged"
"""Ends the name of the repository of merged models where both forms are published."""

MAX_NAME_LENGTH = 96


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is asked for. ``hyperparameters``: OpenAI's three, numbers or ``auto``."""

    model: str
    training_file: str
    validation_file: str | None
    hyperparameters: Mapping[str, Any]
    wishes: Wishes
    suffix: str | None
    seed: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """What is kept of it, and handed to the trainer."""
        return json.dumps(
            {
                "hyperparameters": dict(self.hyperparameters),
                "wishes": self.wishes.model_dump(mode="json"),
                "suffix": self.suffix,
                "seed": self.seed,
                "metadata": dict(self.metadata),
            },
            sort_keys=True,
        )


def create_job(hub: Hub, caller: Principal, asked: NewJob, *, key: str | None) -> TuningJob:
    """Make a job; with a ``key`` that was used before, the same job again.

    Raises RepoNotFound, GatedRepo or RevisionNotFound for the base, ContentNotFound for a file,
    Forbidden for a target, InvalidRequest, LimitExceeded.
    """
    # An administrator's jobs act with what is his own, as a fine-grained token does.
    plain = replace(caller, is_admin=False)

    def work(session: Session) -> TuningJob:
        # Locked in this statement: jobs are counted, and keys looked up, in the next.
        session.execute(select(Account.id).where(Account.id == caller.account_id).with_for_update())
        if key is not None and (known := _known(session, caller, asked, key)) is not None:
            return known
        training = _training_file(session, caller, "training_file", asked.training_file)
        validation = None
        if asked.validation_file is not None:
            validation = _training_file(session, caller, "validation_file", asked.validation_file)
        base = _base(session, plain, asked.model)
        _check_count(session, hub, caller)
        name = new_name("ftjob")
        base_name = repo_id(session, base)
        job = TuningJob(
            name=name,
            owner_id=caller.account_id,
            base=base_name,
            base_repo_id=base.id,
            commit=resolve_revision(session, base, asked.wishes.revision).oid,
            target=_target(session, plain, asked, base.name, name),
            is_full=asked.wishes.is_full,
            training_file_id=training.id,
            validation_file_id=validation.id if validation else None,
            request=asked.as_json(),
            request_key=key,
            created_at=hub.clock.now(),
        )
        session.add(job)
        session.flush()
        session.add(TuningLease(job_id=job.id))
        tell(session, hub, job, f"Created fine-tuning job: {name}")
        tell(session, hub, job, f"Validating training file: {training.name}")
        note(session, hub, "tuning.create", name, f"{base_name} to {job.target}")
        return job

    return hub.db.run(work)


def _known(session: Session, caller: Principal, asked: NewJob, key: str) -> TuningJob | None:
    job = session.scalar(
        select(TuningJob).where(
            TuningJob.owner_id == caller.account_id, TuningJob.request_key == key
        )
    )
    if job is not None and job.request != asked.as_json():
        raise InvalidRequest(f"the Idempotency-Key was used for another job, {job.name}")
    return job


def _training_file(session: Session, caller: Principal, field: str, name: str) -> TuningFile:
    try:
        row = find_file(session, caller, name)
    except ContentNotFound as error:
        raise InvalidRequest(f"{field}: {error.message}") from None
    if row.owner_id != caller.account_id:
        raise InvalidRequest(f"{field}: {name[:64]!a} is somebody else's")
    if row.purpose != "fine-tune":
        raise InvalidRequest(f"{field}: {name[:64]!a} is for {row.purpose}, not fine-tune")
    if not can_write(session, caller, session.get_one(Repo, row.repo_id)):
        raise Forbidden("this token may only read: a job needs one that writes")
    return row


def _base(session: Session, caller: Principal, model: str) -> Repo:
    namespace, slash, name = model.partition("/")
    if not slash:
        raise RepoNotFound(f"model: {model[:200]!a} is no model of this hub; write owner/name")
    try:
        repo = find_readable_repo(session, caller, "model", namespace, name)
    except RepoNotFound:
        raise RepoNotFound(f"model: {model[:200]!a} does not exist, or not for you") from None
    check_open(session, caller, repo)
    return repo


def _check_count(session: Session, hub: Hub, caller: Principal) -> None:
    most = hub.settings.limits.tuning_jobs
    unfinished = (
        select(func.count())
        .select_from(TuningJob)
        .where(TuningJob.owner_id == caller.account_id, TuningJob.status.not_in(FINAL))
    )
    if (session.scalar(unfinished) or 0) >= most:
        raise LimitExceeded(f"{most} jobs are waiting or running", setting="limits.tuning_jobs")


def _target(session: Session, caller: Principal, asked: NewJob, base: str, job: str) -> str:
    """The repository to publish to, which the caller may make or write to. Raises Forbidden."""
    wish = asked.wishes.publish
    extra = MERGED if wish.form == "both" else ""
    ending = _slug(asked.suffix) if asked.suffix else job.removeprefix("ftjob-")[:8].lower()
    default = f"{base[: MAX_NAME_LENGTH - len(ending) - len(extra) - 1].rstrip('-.')}-{ending}"
    namespace, _, name = (wish.repo or f"{caller.name}/{default}").partition("/")
    for each in {name, name + extra}:
        check_name(each, "x_hub.publish.repo: repository name")
        repo = session.scalar(select(Repo).where(Repo.key == repo_key("model", namespace, each)))
        owner = find_account(session, namespace)
        if repo is not None:
            check_not_mirrored(session, repo)
        if not (
            can_write(session, caller, repo)
            if repo is not None
            else owner is not None and can_create(caller, owner.id)
        ):
            raise Forbidden(f"x_hub.publish.repo: you may not write to {namespace}/{each}")
    return f"{namespace}/{name}"


def _slug(suffix: str) -> str:
    """A suffix as the end of a repository's name. Raises InvalidRequest if nothing is left."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", suffix).strip("-")
    if not slug:
        raise InvalidRequest("suffix: has no letter or digit that a repository's name could have")
    return slug
