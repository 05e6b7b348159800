"""The figures that quotas go by are what repositories hold, whatever is done at the same time."""

import hashlib
import threading

import pytest
from sqlalchemy import event, select, update

from app.accounts.quotas import Amounts, check_room, read_quota, set_quota
from app.accounts.usage import measure_held, measure_histories, settle_usage
from app.catalog.commits import apply_commit
from app.catalog.copies import grant_copies
from app.catalog.duplicating import duplicate_repo
from app.catalog.operations import AddLfsFile, DeleteFile
from app.catalog.rewriting import forget_files
from app.catalog.squash import squash
from app.db.tables import Repo, RepoUsage
from app.errors import QuotaExceeded
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.gc.repair import repair
from app.ingest.creation import create_repo
from app.ingest.stream import ingest_stream
from tests.fixtures.proposals import Forum

MAIN = "refs/heads/main"


def blob(number: int, nbytes: int = 1_000) -> bytes:
    return number.to_bytes(4, "big") * (nbytes // 4)


def send(forum: Forum, number: int, repo: Repo | None = None) -> AddLfsFile:
    data = blob(number)
    digest = hashlib.sha256(data).digest()
    repo_id = (repo or forum.repo).id
    ingest_stream(forum.hub, [data], nbytes=len(data), sha256=digest, repo_id=repo_id)
    return AddLfsFile(f"{number}.bin", digest, len(data))


def figures(forum: Forum, repo: Repo | None = None) -> RepoUsage:
    with forum.hub.db.read() as session:
        return session.get_one(RepoUsage, (repo or forum.repo).id)


def assert_exact(forum: Forum) -> None:
    """Every figure that claims to be exact is, and the others are not too low."""
    with forum.hub.db.read() as session:
        for row in session.scalars(select(RepoUsage)).all():
            held = measure_held(session, [row.repo_id])
            history = measure_histories(session, [row.repo_id]).get(row.repo_id, 0)
            assert row.history_nbytes in (None, history)
            assert (row.nbytes or 0) >= held.nbytes
            assert (row.files or 0) >= held.files
            if not row.stale:
                assert (row.nbytes, row.files) == (held.nbytes, held.files)
    assert fsck(forum.hub).clean


def test_figures_follow_what_is_added_and_removed(forum: Forum):
    hub, ada, repo = forum.hub, forum.ada, forum.repo
    start = figures(forum).nbytes or 0
    operations = [send(forum, n) for n in range(4)]
    send(forum, 0)
    assert (figures(forum).nbytes, figures(forum).stale) == (start + 4_000, False)
    shown = figures(forum).history_nbytes or 0
    apply_commit(hub, ada, repo, MAIN, operations, title="in")
    assert figures(forum).nbytes is not None
    assert figures(forum).history_nbytes == shown + 4_000
    assert not figures(forum).stale
    assert_exact(forum)
    other = create_repo(hub, ada, "model", None, "other")
    before = figures(forum, other).nbytes or 0
    grant_copies(hub, repo, other, [operations[0].sha256])
    apply_commit(hub, ada, other, MAIN, operations[:2], title="by what is readable")
    assert (figures(forum, other).nbytes or 0) >= before + 2_000
    assert_exact(forum)
    apply_commit(hub, ada, repo, MAIN, [DeleteFile("0.bin"), DeleteFile("1.bin")], title="out")
    squash(hub, ada, repo, MAIN, "one")
    assert figures(forum).history_nbytes == shown + 4_000, "its history is there for a while"
    forget_files(hub, repo, [operations[2].sha256])
    assert figures(forum).stale
    assert figures(forum).history_nbytes is None
    assert_exact(forum)
    collect(hub, now=True)
    assert_exact(forum)
    assert settle_usage(hub) >= 1
    assert not figures(forum).stale
    assert figures(forum).history_nbytes == shown + 1_000, "the last of the four"
    assert_exact(forum)


def test_who_asks_is_told_what_is_held_exact_or_stale(forum: Forum):
    hub, repo = forum.hub, forum.repo
    operations = [send(forum, n) for n in range(3)]
    apply_commit(hub, forum.ada, repo, MAIN, operations, title="in")
    other = create_repo(hub, forum.ada, "model", None, "other")

    def assert_told() -> None:
        with hub.db.read() as session:
            whole = measure_held(session, [repo.id, other.id])
            alone = measure_held(session, [repo.id])
            used, of_repo = (read_quota(session, hub, name)[1] for name in ("ada", "ada/m"))
        assert (used.nbytes, used.files) == (whole.nbytes, whole.files)
        assert (of_repo.nbytes, of_repo.files) == (alone.nbytes, alone.files)

    assert not figures(forum).stale
    assert_told()
    forget_files(hub, repo, [operations[0].sha256])
    assert figures(forum).stale
    assert_told()
    with hub.db.write() as session:
        session.execute(update(RepoUsage).values(nbytes=1, files=1, stale=False))
    with hub.db.read() as session:
        assert read_quota(session, hub, "ada/m")[1] == Amounts(nbytes=1, files=1), "it counted"


def test_a_copy_of_a_repo_is_counted(forum: Forum):
    operations = [send(forum, n) for n in range(2)]
    apply_commit(forum.hub, forum.ada, forum.repo, MAIN, operations, title="in")
    copy = duplicate_repo(forum.hub, forum.ada, forum.repo, "ada", "copy")
    assert (figures(forum, copy).nbytes or 0) >= 2_000
    assert_exact(forum)


def test_who_is_full_has_room_again_when_something_went(forum: Forum):
    hub = forum.hub
    with hub.db.read() as session:
        start = read_quota(session, hub, "ada")[1].nbytes or 0
    set_quota(hub, "ada", Amounts(nbytes=start + 2_500))
    operations = [send(forum, n) for n in range(2)]
    with pytest.raises(QuotaExceeded):
        send(forum, 2)
    apply_commit(hub, forum.ada, forum.repo, MAIN, operations, title="in")
    forget_files(hub, forum.repo, [operations[0].sha256])
    send(forum, 2)
    with pytest.raises(QuotaExceeded):
        send(forum, 3)
    assert_exact(forum)


def test_the_same_files_side_by_side_count_once(forum: Forum):
    """Uploads of equal files, and commits to two branches that name them, all at once."""
    start = figures(forum).nbytes or 0
    gate = threading.Barrier(8)
    failures: list[BaseException] = []

    def upload(number: int) -> None:
        gate.wait()
        try:
            for n in range(4):
                send(forum, (n + number) % 4)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert figures(forum).nbytes == start + 4_000
    assert_exact(forum)


def test_a_request_looks_at_figures_and_at_no_files(forum: Forum):
    """So it costs the same however many files there are."""
    set_quota(forum.hub, "ada", Amounts(nbytes=1 << 40))
    send(forum, 0)
    asked: list[str] = []

    def note(_connection, _cursor, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(forum.hub.db.engine, "before_cursor_execute", note)
    forum.hub.db.run(
        lambda session: check_room(session, forum.hub, forum.repo, nbytes=1, files=1, proposer=None)
    )
    event.remove(forum.hub.db.engine, "before_cursor_execute", note)
    assert any("repo_usage" in statement for statement in asked)
    for table in ("tree_entry", "file_grant", " file "):
        assert not [statement for statement in asked if table in statement.replace("\n", " ")]


def test_fsck_finds_wrong_figures_and_repair_mends_them(forum: Forum):
    send(forum, 1)
    right = figures(forum).nbytes

    history = figures(forum).history_nbytes
    for wrong in ({"nbytes": 7}, {"history_nbytes": 7}):
        forum.hub.db.run(
            lambda session, wrong=wrong: session.execute(update(RepoUsage).values(wrong))
        )
        report = fsck(forum.hub)
        assert {problem.kind for problem in report.problems} == {"usage"}
        assert repair(forum.hub).left == 0
        assert (figures(forum).nbytes, figures(forum).history_nbytes) == (right, history)
        assert_exact(forum)


def test_figures_that_nobody_counted_yet_are_counted_when_asked_for(forum: Forum):
    send(forum, 1)
    nothing = dict.fromkeys(("nbytes", "files", "history_nbytes"))
    forum.hub.db.run(lambda session: session.execute(update(RepoUsage).values(nothing)))
    set_quota(forum.hub, "ada", Amounts(nbytes=1))
    with pytest.raises(QuotaExceeded):
        send(forum, 2)
    set_quota(forum.hub, "ada", Amounts(nbytes=1 << 40))
    send(forum, 3)
    assert figures(forum).nbytes is not None
    assert_exact(forum)
