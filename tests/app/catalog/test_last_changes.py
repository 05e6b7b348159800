"""The last commit of each path, over drawn histories, beside what ``git log -1`` says."""

import itertools
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.catalog import last_changes as module
from app.catalog.last_changes import last_changes
from app.catalog.listing import list_tree
from app.db import Database
from app.db.tables import Commit, Tree, TreeEntry
from tests.fixtures.ancestry import Graph, graphs, write_graph
from tests.fixtures.git import Git

PATHS: list[str] = ["a", "d/b", "d/c"]
Files = Mapping[str, tuple[str, str]]
"""Path -> mode and content."""

files: st.SearchStrategy[Files] = st.dictionaries(
    st.sampled_from(PATHS), st.tuples(st.sampled_from(["100644", "100755"]), st.sampled_from("xy"))
)


@pytest.fixture
def session(any_database: Database):
    """A session whose changes are never committed."""
    with any_database.engine.connect() as connection, Session(connection) as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """git with a bare repository in its home."""
    made = Git(tmp_path / "home", "http://localhost", None)
    made(tmp_path / "home", "init", "-q", "--bare", ".")
    return made


def write_files(session: Session, repo_id: int, held: Mapping[str, Files]) -> None:
    """Put files into the commits of a graph."""
    rows: dict[tuple[str, str], TreeEntry] = {}

    def put(tree: str, name: str, mode: str, oid: str) -> None:
        rows[tree, name] = TreeEntry(
            repo_id=repo_id, tree_oid=tree, name=name, mode=mode, oid=oid, size=0, is_lfs=False
        )

    for commit, holds in held.items():
        inside = {path: what for path, what in holds.items() if "/" in path}
        below = "d" + "".join(f"-{path[2:]}{mode}{text}" for path, (mode, text) in inside.items())
        for path, (mode, text) in holds.items():
            directory, _, name = path.rpartition("/")
            put(below if directory else f"tree-{commit}", name, mode, text)
        if inside:
            put(f"tree-{commit}", "d", "40000", below)
    known = {f"tree-{commit}" for commit in held}
    session.add_all(Tree(repo_id=repo_id, oid=oid) for oid in {tree for tree, _ in rows} - known)
    session.flush()
    session.add_all(rows.values())
    session.flush()


def import_graph(git: Git, at: Path, graph: Graph, held: Mapping[str, Files], name: str) -> None:
    """The same history in git, each commit a branch with its name for a message."""
    marks = {oid: number for number, oid in enumerate(graph, 1)}
    lines: list[str] = []
    for oid, parents in graph.items():
        lines += [f"commit refs/heads/{name}/{oid}", f"mark :{marks[oid]}"]
        lines += ["committer a <a@b> 1700000000 +0000", "data 1", oid]
        lines += [f"{'merge' if at else 'from'} :{marks[up]}" for at, up in enumerate(parents)]
        lines += ["deleteall"]
        for path, (mode, text) in held[oid].items():
            lines += [f"M {mode} inline {path}", "data 1", text]
    subprocess.run(
        ["git", "fast-import", "--quiet"],
        input="\n".join([*lines, ""]).encode(),
        cwd=at,
        env=git.env,
        check=True,
        timeout=60,
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(graph=graphs(), run=st.integers(1, 3), data=st.data())
def test_it_is_the_commit_that_git_log_shows(
    session: Session, git: Git, tmp_path: Path, graph: Graph, run: int, data: st.DataObject
):
    held: dict[str, Files] = {oid: dict(sorted(data.draw(files).items())) for oid in graph}
    head = data.draw(st.sampled_from(sorted(graph)))
    name = f"{next(_names)}"
    import_graph(git, tmp_path / "home", graph, held, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FIRST_RUN", run)
        patch.setattr(module, "LAST_RUN", run)
        nested = session.begin_nested()
        repo_id = write_graph(session, graph)
        write_files(session, repo_id, held)
        commit = session.get_one(Commit, (repo_id, head))
        entries = list_tree(session, repo_id, commit.tree_oid, recursive=True).entries
        changes = last_changes(session, commit, entries)
        nested.rollback()
    asked = ("log", "-1", "--format=%s", f"{name}/{head}", "--")
    shown = {
        entry.path: git(tmp_path / "home", *asked, entry.path).stdout.strip() for entry in entries
    }
    assert {path: change.oid for path, change in changes.items()} == shown


_names = itertools.count()
