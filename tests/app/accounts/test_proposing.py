"""What an account has in pull requests is what its figure says, whatever comes and goes."""

import hashlib
import threading

import pytest
from sqlalchemy import event, update

from app.accounts.proposing import measure_proposed, read_proposed
from app.accounts.quotas import Amounts, read_quota, set_quota
from app.catalog.repos import delete_repo
from app.db.tables import ProposerUsage
from app.errors import QuotaExceeded
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.gc.repair import repair
from app.ingest.stream import ingest_stream
from tests.fixtures.proposals import Forum


def propose(forum: Forum, number: int, nbytes: int = 1_000) -> bytes:
    """Send bytes for a pull request of bob's; their SHA-256."""
    data = number.to_bytes(4, "big") * (nbytes // 4)
    digest = hashlib.sha256(data).digest()
    ingest_stream(
        forum.hub,
        [data],
        nbytes=nbytes,
        sha256=digest,
        repo_id=forum.repo.id,
        proposer=forum.bob.account_id,
    )
    return digest


def figure(forum: Forum) -> tuple[int | None, bool]:
    with forum.hub.db.read() as session:
        row = session.get_one(ProposerUsage, forum.bob.account_id)
        return row.nbytes, row.stale


def assert_exact(forum: Forum) -> int:
    """Who asks is told the truth; a figure is never too low."""
    with forum.hub.db.read() as session:
        held = measure_proposed(session, forum.bob.account_id)
        assert read_proposed(session, forum.bob.account_id) == held
        assert read_quota(session, forum.hub, "bob")[1].proposed_nbytes == held
    nbytes, stale = figure(forum)
    assert nbytes is None or nbytes == held or (stale and nbytes > held)
    assert fsck(forum.hub).clean
    return held


def test_the_figure_follows_what_is_proposed_and_what_goes(forum: Forum):
    set_quota(forum.hub, "bob", Amounts(proposed_nbytes=10_000))
    for number in range(3):
        propose(forum, number)
    propose(forum, 0)  # the same once more
    assert figure(forum) == (3_000, False)
    assert assert_exact(forum) == 3_000
    forum.hub.clock.sleep(forum.hub.settings.timers.lease_s + 1)
    collect(forum.hub, now=True)  # nobody committed them
    assert figure(forum) == (3_000, True)
    assert assert_exact(forum) == 0
    propose(forum, 4)
    assert assert_exact(forum) == 1_000
    delete_repo(forum.hub, forum.repo)
    assert assert_exact(forum) == 0


def test_who_is_full_may_propose_again_when_something_went(forum: Forum):
    set_quota(forum.hub, "bob", Amounts(proposed_nbytes=2_500))
    for number in range(2):
        propose(forum, number)
    with pytest.raises(QuotaExceeded, match="bob, bytes in pull requests"):
        propose(forum, 2)
    assert assert_exact(forum) == 2_000
    forum.hub.clock.sleep(forum.hub.settings.timers.lease_s + 1)
    collect(forum.hub, now=True)
    propose(forum, 2)
    assert figure(forum) == (1_000, False)
    assert_exact(forum)


def test_proposals_side_by_side_do_not_pass_together(forum: Forum):
    set_quota(forum.hub, "bob", Amounts(proposed_nbytes=3_500))
    gate, outcomes = threading.Barrier(6), []

    def one(number: int) -> None:
        gate.wait()
        try:
            propose(forum, number)
            outcomes.append("in")
        except QuotaExceeded:
            outcomes.append("full")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["full"] * 3 + ["in"] * 3
    assert figure(forum) == (3_000, False)
    assert_exact(forum)


def test_a_proposal_adds_up_no_earlier_ones(forum: Forum):
    set_quota(forum.hub, "bob", Amounts(proposed_nbytes=10_000))
    propose(forum, 0)
    seen: list[str] = []

    @event.listens_for(forum.hub.db.engine, "before_cursor_execute")
    def watch(_conn, _cursor, statement, *_rest) -> None:
        seen.append(statement)

    propose(forum, 1)
    event.remove(forum.hub.db.engine, "before_cursor_execute", watch)
    assert not [each for each in seen if "sum(" in each and "proposed_file" in each]


def test_fsck_finds_a_wrong_figure_and_repair_mends_it(forum: Forum):
    set_quota(forum.hub, "bob", Amounts(proposed_nbytes=10_000))
    propose(forum, 0)
    with forum.hub.db.write() as session:
        session.execute(update(ProposerUsage).values(nbytes=10))
    [problem] = fsck(forum.hub).problems
    assert problem.kind == "usage"
    assert "there are 1000" in problem.detail
    assert repair(forum.hub).repaired == 1
    assert figure(forum) == (1_000, False)
    assert_exact(forum)
