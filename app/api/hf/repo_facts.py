"""What the hub knows about a repo at a revision, read before any card is opened.

Split from ``app.api.hf.repo_view``: facts are read inside a transaction, cards outside of one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.accounts.permissions import readable_repos_clause
from app.accounts.tokens import Principal
from app.accounts.usage import read_histories
from app.api.hf.fields import FILE_FIELDS, LISTING_FIELDS
from app.catalog.indexing import IndexedCard, load_cards
from app.catalog.listing import Entry, find_entries, list_files
from app.catalog.refs import BRANCH
from app.catalog.repos import ListedRepo
from app.catalog.tags import CARD_FILES
from app.catalog.weights import count_gguf_parameters, count_parameters
from app.db.tables import Account, Commit, FamilyMember, Ref, Repo, TreeEntry

TOKENIZER = "tokenizer_config.json"
READ_FILES = (*CARD_FILES, TOKENIZER)


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file to read once the transaction is over."""

    file_id: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a model belongs, as measured; its card is asked where nothing was."""

    parent: ListedRepo | None
    """None where nothing was measured, for a root, and if the caller may not see the parent."""
    relation: str | None
    """To the parent, as the card calls it."""
    children: int
    """Models measured to derive from this one, that the caller may see."""


@dataclass(slots=True)
class RepoFacts:
    """A repo and as much of one revision as was asked for."""

    listed: ListedRepo
    commit: Commit | None = None
    """None for a repo without any commit."""
    indexed: IndexedCard | None = None
    """What was written down about this very commit."""
    small_files: dict[str, SmallFile] = field(default_factory=dict)
    """Those of :data:`READ_FILES` that exist."""
    files: list[Entry] | None = None
    used_nbytes: int | None = None
    parameters: dict[str, int] | None = None
    """Elements per dtype of all safetensors files."""
    gguf_parameters: int | None = None
    lineage: Lineage | None = None


def load_facts(
    session: Session,
    caller: Principal | None,
    listed: ListedRepo,
    commit: Commit,
    fields: Collection[str],
) -> RepoFacts:
    """Facts for the named fields of one repo."""
    repo = listed.repo
    facts = RepoFacts(listed, commit)
    indexed = load_cards(session, [repo.id]).get(repo.id)
    facts.indexed = indexed if indexed and indexed.commit_oid == commit.oid else None
    found = find_entries(session, repo.id, commit.tree_oid, READ_FILES)
    facts.small_files = {
        path: SmallFile(entry.file_id, entry.nbytes)
        for path, entry in found.items()
        if entry.file_id is not None
    }
    if "usedStorage" in fields:
        facts.used_nbytes = read_histories(session, [repo.id])[repo.id]
    _add_files(session, facts, set(fields))
    if {"baseModels", "childrenModelCount"} & set(fields):
        facts.lineage = _lineage(session, caller, repo)
    return facts


def load_listed_facts(
    session: Session,
    caller: Principal | None,
    listed: Sequence[ListedRepo],
    default_branch: str,
    fields: Collection[str],
) -> list[RepoFacts]:
    """Facts of many repos at their default branch. File lists cost per repo, if asked for."""
    ids = [each.repo.id for each in listed]
    rows = session.execute(
        select(Commit, TreeEntry.name, TreeEntry.file_id, TreeEntry.size)
        .join(Ref, and_(Ref.repo_id == Commit.repo_id, Ref.commit_oid == Commit.oid))
        .outerjoin(
            TreeEntry,
            and_(
                TreeEntry.repo_id == Commit.repo_id,
                TreeEntry.tree_oid == Commit.tree_oid,
                TreeEntry.name.in_(READ_FILES),
                TreeEntry.file_id.is_not(None),
            ),
        )
        .where(Ref.repo_id.in_(ids), Ref.name == BRANCH + default_branch)
    )
    facts = {each.repo.id: RepoFacts(each) for each in listed}
    for commit, name, file_id, nbytes in rows:
        facts[commit.repo_id].commit = commit
        if name is not None and file_id is not None:
            facts[commit.repo_id].small_files[name] = SmallFile(file_id, nbytes)
    indexed = load_cards(session, ids)
    wanted = set(fields)
    used = read_histories(session, ids) if "usedStorage" in wanted else {}
    for repo_id, each in facts.items():
        card = indexed.get(repo_id)
        if each.commit is None:
            continue
        each.indexed = card if card and card.commit_oid == each.commit.oid else None
        each.used_nbytes = used.get(repo_id)
        _add_files(session, each, wanted)
        if {"baseModels", "childrenModelCount"} & wanted:
            each.lineage = _lineage(session, caller, each.listed.repo)
    return list(facts.values())


def _add_files(session: Session, facts: RepoFacts, fields: set[str]) -> None:
    """File list and parameters: as written down where they were, else counted now."""
    commit, indexed = facts.commit, facts.indexed
    assert commit is not None
    if LISTING_FIELDS & fields or (FILE_FIELDS & fields and not indexed):
        facts.files = list_files(session, commit.repo_id, commit.tree_oid)
    if "safetensors" in fields:
        facts.parameters = (
            indexed.parameters if indexed else count_parameters(session, facts.files or [])
        )
    if "gguf" in fields:
        facts.gguf_parameters = count_gguf_parameters(session, facts.files or [])


def _lineage(session: Session, caller: Principal | None, repo: Repo) -> Lineage:
    member = session.get(FamilyMember, repo.id)
    parent: ListedRepo | None = None
    if member is not None and member.measured_parent_id is not None:
        row = session.execute(
            select(Repo, Account.name)
            .join(Account, Account.id == Repo.namespace_id)
            .where(Repo.id == member.measured_parent_id, readable_repos_clause(caller))
        ).one_or_none()
        parent = None if row is None else ListedRepo(row[0], row[1])
    children = session.scalar(
        select(func.count())
        .select_from(FamilyMember)
        .join(Repo, Repo.id == FamilyMember.repo_id)
        .where(FamilyMember.measured_parent_id == repo.id, readable_repos_clause(caller))
    )
    relation = None if member is None else member.declared_relation
    return Lineage(parent, relation, int(children or 0))
