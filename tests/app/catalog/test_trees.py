"""Copy-on-write directories behave like a dictionary of paths, and have git's ids."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.tokens import authenticate
from app.accounts.users import create_user
from app.catalog.git_objects import DIRECTORY_MODE, FILE_MODE, GitEntry, blob_oid, tree_oid
from app.catalog.listing import find_entries, find_entry, list_files, list_tree
from app.catalog.repos import reserve_repo
from app.catalog.trees import NewFile, TreeChanges
from app.db.tables import File, Repo, TreeEntry
from app.errors import EntryNotFound, InvalidPath
from app.hub import Hub


@pytest.fixture
def repo(hub: Hub) -> Repo:
    user = create_user(hub, "ada")
    with hub.db.read() as session:
        principal = authenticate(session, user.token)
    return reserve_repo(hub, principal, "model", None, "m")


@pytest.fixture
def file_id(hub: Hub) -> int:
    row = File(sha256=b"\x01" * 32, size=3, format="opaque", created_at=hub.clock.now())

    def work(session: Session) -> None:
        session.add(row)

    hub.db.run(work)
    return row.id


def new_file(file_id: int, text: str) -> NewFile:
    return NewFile(blob_oid(text.encode()), file_id, len(text), is_lfs=False)


def apply(hub: Hub, repo: Repo, root: str | None, changes: TreeChanges) -> str:
    return hub.db.run(lambda session: changes.apply(session, repo.id, root))


def puts(file_id: int, *paths: str) -> TreeChanges:
    changes = TreeChanges()
    for path in paths:
        changes.put(path, new_file(file_id, path))
    return changes


def naive_tree_oid(files: dict[str, str]) -> str:
    directories: dict[str, dict[str, str]] = {}
    entries = []
    for path, oid in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            directories.setdefault(name, {})[rest] = oid
        else:
            entries.append(GitEntry(name, FILE_MODE, oid))
    entries += [
        GitEntry(name, DIRECTORY_MODE, naive_tree_oid(inner)) for name, inner in directories.items()
    ]
    return tree_oid(entries)


NAMES = st.sampled_from(["p", "q", "r-x", "s0"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.lists(st.tuples(st.sampled_from(["put", "remove", "remove_folder"]), PATHS), max_size=6),
    max_size=5,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_trees_behave_like_a_dictionary(hub: Hub, repo: Repo, file_id: int, steps):
    root: str | None = None
    model: dict[str, str] = {}
    for number, step in enumerate(steps):
        changes, expected = TreeChanges(), dict(model)
        for action, path in step:
            below = [each for each in expected if each.startswith(f"{path}/")]
            above = [path[:cut] for cut in range(len(path)) if path[cut] == "/"]
            if action == "put" and not below and not set(above) & set(expected):
                file = new_file(file_id, f"{path}{number}")
                changes.put(path, file)
                expected[path] = file.oid
            elif action == "remove" and path in model and path in expected:
                changes.remove(path, folder=False)
                del expected[path]
            elif action == "remove_folder" and below and {*below} & {*model}:
                changes.remove(path, folder=True)
                expected = {k: v for k, v in expected.items() if k not in below}
        root = apply(hub, repo, root, changes)
        model = expected
        with hub.db.read() as session:
            listed = {each.path: each.oid for each in list_files(session, repo.id, root)}
        assert listed == model
        assert root == naive_tree_oid(model)


def test_file_may_take_the_place_of_a_directory_emptied_by_the_same_commit(
    hub: Hub, repo: Repo, file_id: int
):
    root = apply(hub, repo, None, puts(file_id, "p/p/p"))
    changes = TreeChanges()
    changes.remove("p/p", folder=True)
    changes.put("p", new_file(file_id, "p"))

    root = apply(hub, repo, root, changes)

    with hub.db.read() as session:
        assert [each.path for each in list_files(session, repo.id, root)] == ["p"]


def test_only_changed_directories_are_written(hub: Hub, repo: Repo, file_id: int):
    paths = [f"d{directory}/{name}" for directory in range(10) for name in range(9)]
    root = apply(hub, repo, None, puts(file_id, *paths))

    def rows(session: Session) -> int:
        return session.scalars(select(func.count()).select_from(TreeEntry)).one()

    with hub.db.read() as session:
        before = rows(session)
    apply(hub, repo, root, puts(file_id, "d3/new"))
    with hub.db.read() as session:
        assert rows(session) - before == 10 + 10


def test_twins_are_refused_but_renames_are_not(hub: Hub, repo: Repo, file_id: int):
    root = apply(hub, repo, None, puts(file_id, "Dir/Name"))
    for twin in ("dir/other", "Dir/NAME", "Dir/N\u200dame"):
        with pytest.raises(InvalidPath):
            apply(hub, repo, root, puts(file_id, twin))
    with pytest.raises(InvalidPath):
        apply(hub, repo, None, puts(file_id, "straße", "STRASSE"))
    rename = puts(file_id, "Dir/NAME")
    rename.remove("Dir/Name", folder=False)
    renamed = apply(hub, repo, root, rename)
    with hub.db.read() as session:
        assert [each.path for each in list_files(session, repo.id, renamed)] == ["Dir/NAME"]


def test_a_name_is_a_file_or_a_directory(hub: Hub, repo: Repo, file_id: int):
    root = apply(hub, repo, None, puts(file_id, "a", "b/c"))
    for path in ("a/x", "b"):
        with pytest.raises(InvalidPath):
            apply(hub, repo, root, puts(file_id, path))
    with pytest.raises(InvalidPath):
        apply(hub, repo, None, puts(file_id, "n", "n/x"))
    replaced = TreeChanges()
    replaced.remove("b", folder=True)
    replaced.put("b", new_file(file_id, "b"))
    new_root = apply(hub, repo, root, replaced)
    with hub.db.read() as session:
        assert [each.path for each in list_files(session, repo.id, new_root)] == ["a", "b"]


def test_removing_the_wrong_kind_is_not_found(hub: Hub, repo: Repo, file_id: int):
    root = apply(hub, repo, None, puts(file_id, "a", "b/c"))
    for path, folder in (("a", True), ("x", False), ("a/b", False), ("b/x", True)):
        changes = TreeChanges()
        changes.remove(path, folder=folder)
        with pytest.raises(EntryNotFound):
            apply(hub, repo, root, changes)


def test_a_directory_is_removed_like_a_file_if_asked_for_by_name(
    hub: Hub, repo: Repo, file_id: int
):
    root = apply(hub, repo, None, puts(file_id, "a", "b/c"))
    changes = TreeChanges()
    changes.remove("b", folder=False)
    root = apply(hub, repo, root, changes)
    with hub.db.read() as session:
        assert [each.path for each in list_files(session, repo.id, root)] == ["a"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_continue_where_they_stopped(hub: Hub, repo: Repo, file_id: int, limit: int):
    root = apply(hub, repo, None, puts(file_id, "a", "b/c/d", "b/c-", "b0", "b-/x", "z/y"))
    found, after = [], None
    with hub.db.read() as session:
        whole = [e.path for e in list_tree(session, repo.id, root, recursive=True).entries]
        while True:
            page = list_tree(session, repo.id, root, recursive=True, after=after, limit=limit)
            found += [each.path for each in page.entries]
            after = page.cursor
            if after is None:
                break
    assert found == whole
    assert set(whole) == {"a", "b", "b/c", "b/c/d", "b/c-", "b0", "b-", "b-/x", "z", "z/y"}


def test_look_ups_find_files_and_directories(hub: Hub, repo: Repo, file_id: int):
    root = apply(hub, repo, None, puts(file_id, "a", "b/c/d"))
    with hub.db.read() as session:
        asked = ["a", "b/c", "b/c/d", "b/x", "a/b", "", "b//c"]
        found = find_entries(session, repo.id, root, asked)
        assert sorted(found) == ["a", "b/c", "b/c/d"]
        assert found["b/c"].is_directory
        assert found["b/c/d"].sha256 == b"\x01" * 32
        assert find_entry(session, repo.id, root, "nope") is None
