"""What the hub knows about a repo at a revision, read before any card is opened.

Split from ``app.api.hf.repo_view``: facts are read inside a transaction, cards outside of one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.catalog.listing import Entry, find_entries, list_files
from app.catalog.refs import BRANCH
from app.catalog.repos import ListedRepo, used_storage_nbytes
from app.db.tables import Commit, Ref, Segment, TreeEntry
from app.formats.safetensors import DTYPE_BITS

README = "README.md"
CONFIG = "config.json"
CARD_FILES = (README, CONFIG)

BATCH = 1_000
"""Ids per IN list."""


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file to read once the transaction is over."""

    file_id: int
    nbytes: int


@dataclass(slots=True)
class RepoFacts:
    """A repo and as much of one revision as was asked for."""

    listed: ListedRepo
    commit: Commit | None = None
    """None in listings that do not ask for it, and for a repo without any commit."""
    cards: dict[str, SmallFile] = field(default_factory=dict)
    """README.md and config.json, where they exist."""
    files: list[Entry] | None = None
    used_nbytes: int | None = None
    parameters: dict[str, int] | None = None
    """Elements per dtype of all safetensors files."""


def load_facts(
    session: Session, listed: ListedRepo, commit: Commit, fields: Collection[str]
) -> RepoFacts:
    """Facts for the named fields of one repo."""
    repo = listed.repo
    facts = RepoFacts(listed, commit)
    found = find_entries(session, repo.id, commit.tree_oid, CARD_FILES)
    facts.cards = {
        path: SmallFile(entry.file_id, entry.nbytes)
        for path, entry in found.items()
        if entry.file_id is not None
    }
    if {"siblings", "tags", "safetensors"} & set(fields):
        facts.files = list_files(session, repo.id, commit.tree_oid)
    if "usedStorage" in fields:
        facts.used_nbytes = used_storage_nbytes(session, repo)
    if "safetensors" in fields and facts.files is not None:
        facts.parameters = _parameters(session, facts.files)
    return facts


def load_listed_facts(
    session: Session, listed: Sequence[ListedRepo], default_branch: str
) -> list[RepoFacts]:
    """Facts of many repos at their default branch: head and cards, no file lists."""
    rows = session.execute(
        select(Commit, TreeEntry.name, TreeEntry.file_id, TreeEntry.size)
        .join(Ref, and_(Ref.repo_id == Commit.repo_id, Ref.commit_oid == Commit.oid))
        .outerjoin(
            TreeEntry,
            and_(
                TreeEntry.repo_id == Commit.repo_id,
                TreeEntry.tree_oid == Commit.tree_oid,
                TreeEntry.name.in_(CARD_FILES),
                TreeEntry.file_id.is_not(None),
            ),
        )
        .where(
            Ref.repo_id.in_([each.repo.id for each in listed]), Ref.name == BRANCH + default_branch
        )
    )
    facts = {each.repo.id: RepoFacts(each) for each in listed}
    for commit, name, file_id, nbytes in rows:
        facts[commit.repo_id].commit = commit
        if name is not None and file_id is not None:
            facts[commit.repo_id].cards[name] = SmallFile(file_id, nbytes)
    return list(facts.values())


def _parameters(session: Session, files: Sequence[Entry]) -> dict[str, int]:
    ids = sorted(
        {
            entry.file_id
            for entry in files
            if entry.file_id is not None and entry.path.endswith(".safetensors")
        }
    )
    bits: dict[str, int] = {}
    for start in range(0, len(ids), BATCH):
        rows = session.execute(
            select(Segment.dtype, func.sum(Segment.nbytes))
            .where(
                Segment.file_id.in_(ids[start : start + BATCH]),
                Segment.role == "tensor",
                Segment.dtype.is_not(None),
            )
            .group_by(Segment.dtype)
        )
        for dtype, nbytes in rows:
            assert dtype is not None
            bits[dtype] = bits.get(dtype, 0) + 8 * int(nbytes)
    return {
        dtype: total // DTYPE_BITS[dtype]
        for dtype, total in sorted(bits.items())
        if dtype in DTYPE_BITS
    }
