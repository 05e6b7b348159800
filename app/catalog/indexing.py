"""Keep what listings look repos up by in step with what the repos hold.

A job is owed by every commit. It reads the head's small files outside of transactions, and writes
unless what is written is of the head: whoever moved it owes another job. While commits follow each
other, the jobs of a repo take a small part of a runner's time, however many files it has.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from app.accounts.usage import settle_history
from app.catalog.listing import Entry, list_files
from app.catalog.naming import RepoType
from app.catalog.operations import Operation
from app.catalog.refs import BRANCH
from app.catalog.tag_lists import kind_of, seen_by
from app.catalog.tags import CARD_FILES, CONFIG, README, CardFacts, describe, parse_readme
from app.catalog.weights import count_parameters
from app.contents.reading import read_whole
from app.contents.refs import load_refs
from app.db.inserting import upsert
from app.db.tables import Commit, Ref, Repo, RepoCard, RepoTag, Segment
from app.errors import HubError
from app.formats.model_card import parse_model_config
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue

log = structlog.get_logger(__name__)

JOB = "index"
PRIORITY = -10
"""Before the encoding of what was committed: people look for what they have just pushed."""

REST = 10
"""Times that a run took, its wait for those who write included, in which the next one of the same
repo does not begin: commits made meanwhile share one, and what is to be encoded has its turn."""

LONGEST_REST_S = 60.0

MAX_NBYTES = 1 << 20
"""Longer cards and configurations are treated as empty: nobody writes them like that."""


@dataclass(frozen=True, slots=True)
class IndexedCard:
    """What was written down about a repo at a commit."""

    commit_oid: str
    facts: CardFacts
    parameters: dict[str, int]
    """Elements per dtype."""


def owe_indexing(session: Session, hub: Hub, repo_id: int) -> None:
    """Owe the job that finds out what a repo says about itself now."""
    enqueue(
        session,
        hub,
        JOB,
        key=f"repo:{repo_id}",
        payload={"repo_id": repo_id},
        priority=PRIORITY,
        run_after=session.scalar(select(RepoCard.rests_until).where(RepoCard.repo_id == repo_id)),
    )


def index_job(context: JobContext) -> None:
    """Handler of ``index`` jobs: payload ``repo_id``. Idempotent."""
    index_repo(context.hub, int(context.payload["repo_id"]))


def index_changed_card(hub: Hub, repo_id: int, operations: Iterable[Operation]) -> None:
    """Index at once what a commit says about its repo, so that the next listing finds it by that.

    Everything else, and what fails here, is left to the job that the commit owes.
    """
    if any(operation.path in CARD_FILES for operation in operations):
        try:
            index_repo(hub, repo_id)
        except HubError as error:
            log.warning("repo not indexed yet", repo=repo_id, fault=error.message)


def index_repo(hub: Hub, repo_id: int) -> None:
    """Write down what the head of a repo's default branch says; nothing for a repo without one."""
    began = hub.clock.now()
    with hub.db.read() as session:
        repo = session.get(Repo, repo_id)
        head = None if repo is None else _head(session, hub, repo)
        if repo is None or head is None:
            return
        files = list_files(session, repo_id, head.tree_oid)
        parameters = count_parameters(session, files) if repo.type == "model" else {}
    settle_history(hub, repo_id)
    small = _read_small(hub, files)
    repo_type: RepoType = repo.type  # pyright: ignore[reportAssignmentType]
    facts = describe(
        repo_type,
        [entry.path for entry in files],
        parse_readme(small.get(README, b"")),
        parse_model_config(small.get(CONFIG, b"")),
    )
    card = IndexedCard(head.oid, facts, parameters)

    hub.db.run(lambda session: _write(session, hub, repo, card, began))


def load_cards(session: Session, repo_ids: list[int]) -> dict[int, IndexedCard]:
    """What was written down about these repos, as far as it was."""
    rows = session.scalars(select(RepoCard).where(RepoCard.repo_id.in_(repo_ids)))
    return {row.repo_id: _card(row) for row in rows}


def _head(session: Session, hub: Hub, repo: Repo) -> Commit | None:
    return session.scalar(
        select(Commit)
        .join(Ref, (Ref.repo_id == Commit.repo_id) & (Ref.commit_oid == Commit.oid))
        .where(Ref.repo_id == repo.id, Ref.name == BRANCH + hub.settings.default_branch)
    )


def _read_small(hub: Hub, files: list[Entry]) -> dict[str, bytes]:
    """README and configuration; one that cannot be read now counts as missing."""
    wanted = {
        entry.file_id: entry.path
        for entry in files
        if entry.path in CARD_FILES and entry.file_id is not None and entry.nbytes <= MAX_NBYTES
    }
    with hub.db.read() as session:
        rows = session.execute(
            select(Segment.file_id, Segment.content_id)
            .where(Segment.file_id.in_(wanted))
            .order_by(Segment.file_id, Segment.start)
        ).all()
        refs = load_refs(session, [content_id for _, content_id in rows])
    found: dict[str, bytes] = {}
    for file_id, path in wanted.items():
        try:
            parts = read_whole(hub, [refs[content] for owner, content in rows if owner == file_id])
        except (HubError, KeyError):
            continue
        found[path] = b"".join(parts)
    return found


def _write(session: Session, hub: Hub, repo: Repo, card: IndexedCard, began: datetime) -> None:
    ref = session.get(
        Ref, (repo.id, BRANCH + hub.settings.default_branch), with_for_update={"read": True}
    )
    if ref is None or (ref.commit_oid != card.commit_oid and _is_current(session, ref)):
        return
    # Before its tags, as those who change who sees it do: they take along what is written here.
    shown = session.get_one(Repo, repo.id, with_for_update={"read": True})
    now = hub.clock.now()
    rest_s = min(REST * max(0.0, (now - began).total_seconds()), LONGEST_REST_S)
    facts: dict[str, Any] = asdict(card.facts) | {"parameters": card.parameters}
    row = {
        "commit_oid": card.commit_oid,
        "facts": json.dumps(facts),
        "parameter_count": sum(card.parameters.values()) or None,
        "rests_until": now + timedelta(seconds=rest_s),
    }
    insertion = upsert(session, RepoCard).values(row | {"repo_id": repo.id})
    session.execute(insertion.on_conflict_do_update(index_elements=[RepoCard.repo_id], set_=row))
    session.execute(delete(RepoTag).where(RepoTag.repo_id == repo.id))
    repo_type: RepoType = repo.type  # pyright: ignore[reportAssignmentType]
    place = {"type": repo_type, "repo_id": repo.id, "seen_by": seen_by(shown)}
    tags = [
        place | {"tag": tag, "kind": kind_of(repo_type, tag, card.facts)} for tag in card.facts.tags
    ]
    if tags:
        session.execute(insert(RepoTag), tags)


def _is_current(session: Session, ref: Ref) -> bool:
    """Whether what is written down is of this head."""
    query = select(RepoCard.commit_oid).where(RepoCard.repo_id == ref.repo_id)
    return session.scalar(query) == ref.commit_oid


def _card(row: RepoCard) -> IndexedCard:
    facts = json.loads(row.facts)
    parameters = facts.pop("parameters")
    facts["tags"] = tuple(facts["tags"])
    return IndexedCard(row.commit_oid, CardFacts(**facts), parameters)
