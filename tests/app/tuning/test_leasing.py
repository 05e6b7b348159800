"""Leases and their fences, on both kinds of hub: who may write for a job, and who not any more."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user, join_org
from app.catalog.moving import move_repo
from app.catalog.repos import delete_repo
from app.clock import ManualClock
from app.db.tables import (
    AccessToken,
    File,
    Membership,
    Repo,
    TuningCheckpoint,
    TuningEvent,
    TuningJob,
)
from app.errors import ContentNotFound, Forbidden, InvalidRequest, LeaseLost, Unauthorized
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.ingest.creation import create_repo
from app.jobs.context import JobContext
from app.restore.bulk import read_file
from app.tuning import control, leasing, losing, results
from app.tuning.creating import NewJob, create_job
from app.tuning.leasing import Claim, Report, Said
from app.tuning.pruning import KEPT, prune_checkpoints
from app.tuning.shelf import delete_file, find_file, store_file
from app.tuning.wishes import Wishes

HYPER = {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0}


@dataclass
class Tuning:
    """A hub where alice has a base and a file, and its clock."""

    hub: Hub
    clock: ManualClock
    alice: Principal
    file: str

    def job(self, **wishes: Any) -> TuningJob:
        asked = NewJob("alice/base", self.file, None, HYPER, Wishes.model_validate(wishes), None, 0)
        return create_job(self.hub, self.alice, asked, key=None)

    def queued(self, **wishes: Any) -> TuningJob:
        job = self.job(**wishes)
        claim = leasing.claim_unread(self.hub, "looker")
        assert claim is not None
        leasing.validated(self.hub, job.name, claim.fence)
        return job

    def claim(
        self, most: int = 8, holder: str = "trainer", base: str = "alice/base", full: bool = False
    ) -> list[Claim]:
        with self.hub.db.read() as session:
            [commit] = set(session.scalars(select(TuningJob.commit)))
        return leasing.claim_jobs(
            self.hub, holder, base=base, commit=commit, is_full=full, most=most
        )

    def state(self, job: TuningJob) -> TuningJob:
        with self.hub.db.read() as session:
            return session.get_one(TuningJob, job.id)

    def said(self, job: TuningJob) -> list[str]:
        with self.hub.db.read() as session:
            query = select(TuningEvent.message).where(TuningEvent.job_id == job.id)
            return list(session.scalars(query.order_by(TuningEvent.number)))

    def lapse(self) -> None:
        self.clock.advance(self.hub.settings.timers.tuning_lease_s + 1)

    def keep(self, claim: Claim, step: int, data: bytes = b"state") -> None:
        results.keep_checkpoint(
            self.hub, claim.job.name, claim.fence, step, {"step": step}, [data], len(data)
        )


@pytest.fixture
def tuning(any_hub: Hub) -> Tuning:
    assert isinstance(any_hub.clock, ManualClock)
    create_user(any_hub, "alice", token="hf_alice")
    with any_hub.db.read() as session:
        alice = authenticate(session, "hf_alice", now=any_hub.clock.now())
    create_repo(any_hub, alice, "model", "alice", "base")
    row = store_file(any_hub, alice, [b'{"text": "a"}'], filename="a.jsonl", purpose="fine-tune")
    return Tuning(any_hub, any_hub.clock, alice, row.name)


def report(claim: Claim, beat: int, **told: Any) -> Report:
    return Report(claim.job.name, claim.fence, beat, **told)


def test_a_job_runs_once_however_often_it_is_asked_for(tuning: Tuning) -> None:
    job = tuning.queued()
    [claim] = tuning.claim()
    assert tuning.claim(holder="another") == []
    told = report(claim, 1, steps=2, total_steps=9, is_running=True, said=[Said("hello")])
    for _ in range(2):  # the answer was lost, and it is sent again
        assert leasing.beat(tuning.hub, told) == "run"
    assert tuning.state(job).status == "running"
    assert tuning.said(job)[-2:] == ["Fine-tuning job started", "hello"]
    steps = [Said(f"step {n}", metrics={"step": n}) for n in (2, 3)]
    leasing.beat(tuning.hub, report(claim, 2, steps=3, said=steps))
    assert tuning.said(job)[-1:] == ["step 3"]
    assert "step 2" not in tuning.said(job)
    tuning.keep(claim, 2)
    leasing.end(tuning.hub, job.name, claim.fence, "succeeded", result={"published": []})
    assert tuning.state(job).status == "succeeded"
    assert tuning.claim() == []
    with pytest.raises(LeaseLost):
        leasing.end(tuning.hub, job.name, claim.fence, "succeeded", result={})


def writes(tuning: Tuning, claim: Claim) -> dict[str, Callable[[], object]]:
    hub, job, fence = tuning.hub, claim.job.name, claim.fence
    return {
        "beat": lambda: leasing.beat(hub, report(claim, 99, steps=99, said=[Said("late")])),
        "checkpoint": lambda: tuning.keep(claim, 99),
        "results": lambda: results.keep_results(hub, job, fence, [b"late"]),
        "publication": lambda: results.open_publication(hub, job, fence),
        "end": lambda: leasing.end(hub, job, fence, "succeeded", result={}),
        "give back": lambda: leasing.end(hub, job, fence, "queued"),
        "fail": lambda: leasing.end(hub, job, fence, "failed"),
        "valid": lambda: leasing.validated(hub, job, fence),
    }


@pytest.mark.parametrize("how", ["taken over", "cancelled", "ended"])
def test_who_wakes_up_when_the_job_is_anothers_writes_nothing(tuning: Tuning, how: str) -> None:
    hub, job = tuning.hub, tuning.queued()
    [late] = tuning.claim()
    leasing.beat(hub, report(late, 1, steps=1, is_running=True))
    tuning.keep(late, 1)
    if how == "taken over":
        tuning.clock.advance(hub.settings.timers.tuning_lease_s - 1)
        assert not tuning.claim(holder="another"), "the lease still holds"
        tuning.clock.advance(2)
        [now] = tuning.claim(holder="another")
        assert now.fence > late.fence
        assert now.checkpoints == [1]
    elif how == "cancelled":
        control.cancel(hub, tuning.alice, job.name)
    else:
        leasing.end(hub, job.name, late.fence, "succeeded", result={"by": "itself"})
    before, said = tuning.state(job), tuning.said(job)
    for write in writes(tuning, late).values():
        with pytest.raises(LeaseLost):
            write()
    with hub.db.read() as session, pytest.raises(Unauthorized):
        authenticate(session, late.token, now=hub.clock.now())
    after = tuning.state(job)
    assert (after.status, after.result, after.steps) == (before.status, before.result, 1)
    assert tuning.said(job) == said
    with hub.db.read() as session:
        assert list(session.scalars(select(TuningCheckpoint.step))) == [1]


def test_who_is_late_but_alone_reports_first_and_goes_on(tuning: Tuning) -> None:
    job = tuning.queued()
    [claim] = tuning.claim()
    tuning.lapse()
    with pytest.raises(LeaseLost, match="report first"):
        tuning.keep(claim, 1)
    with tuning.hub.db.read() as session, pytest.raises(Unauthorized):
        authenticate(session, claim.token, now=tuning.clock.now())
    assert leasing.beat(tuning.hub, report(claim, 1)) == "run"
    tuning.keep(claim, 1)
    with tuning.hub.db.read() as session:
        authenticate(session, claim.token, now=tuning.clock.now())
    assert tuning.state(job).status == "queued"


def test_a_token_of_a_claim_opens_the_base_and_later_the_result(tuning: Tuning) -> None:
    hub = tuning.hub
    create_repo(hub, tuning.alice, "model", "alice", "secret", private=True)
    job = tuning.queued(publish={"form": "both", "private": True})
    [claim] = tuning.claim()

    def opened() -> tuple[dict[int, bool], bool]:
        with hub.db.read() as session:
            who = authenticate(session, claim.token, now=hub.clock.now())
        assert who.scope is not None
        return dict(who.scope.repos), who.is_admin

    with hub.db.read() as session:
        ids = {repo.key: repo.id for repo in session.scalars(select(Repo))}
    assert opened() == ({ids["model/alice/base"]: False}, False)
    places = results.open_publication(hub, job.name, claim.fence)
    assert [(place.repo, place.form) for place in places] == [
        (job.target, "adapter"),
        (f"{job.target}-merged", "merged"),
    ]
    with hub.db.read() as session:
        made = session.scalars(select(Repo).where(Repo.name.like("base-%"))).all()
    assert all(repo.private for repo in made)
    assert opened()[0] == {ids["model/alice/base"]: False} | {repo.id: True for repo in made}
    assert len(results.open_publication(hub, job.name, claim.fence)) == 2


def test_a_trainer_that_dies_again_and_again_takes_its_job_with_it(tuning: Tuning) -> None:
    poisoned, healthy = tuning.queued(priority=1), tuning.queued()
    both = tuning.claim()
    assert [claim.is_suspect for claim in both] == [False, False]
    for _ in range(leasing.MAX_ATTEMPTS - 1):
        tuning.lapse()
        [first] = tuning.claim()  # alone, to see whether it is the one
        assert first.is_suspect
        assert first.job.name == poisoned.name
        [second] = tuning.claim()
        assert second.job.name == healthy.name
        leasing.beat(tuning.hub, report(second, 1, steps=second.job.steps + 1, is_running=True))
    tuning.lapse()
    [only] = tuning.claim()
    assert only.job.name == healthy.name
    over = tuning.state(poisoned)
    assert over.status == "failed"
    assert json.loads(over.error or "")["code"] == "trainer_lost"


def test_what_the_dead_held_is_free_at_once_and_what_others_hold_is_not(tuning: Tuning) -> None:
    dies, also, lives = (tuning.queued() for _ in range(3))
    first, second = tuning.claim(most=2, holder="dies")
    leasing.beat(tuning.hub, report(first, 1, steps=3, is_running=True))
    [other] = tuning.claim(holder="lives")
    assert losing.lose_all(tuning.hub, "nobody") == 0
    assert losing.lose_all(tuning.hub, "dies") == 2
    for claim in (first, second):
        with pytest.raises(LeaseLost):
            tuning.keep(claim, 4)
    assert tuning.state(dies).status == "queued"
    assert "The trainer was lost" in tuning.said(dies)[-1]
    leasing.beat(tuning.hub, report(other, 1, steps=1, is_running=True))
    assert tuning.state(lives).status == "running"
    [taken] = tuning.claim(holder="successor")
    assert (taken.job.name, taken.is_suspect) == (dies.name, True)
    assert losing.lose_all(tuning.hub, "dies") == 0  # it is said again, and is not theirs any more
    tuning.keep(taken, 4)
    assert [each.job.name for each in tuning.claim(holder="dies")] == [also.name]
    assert losing.lose_all(tuning.hub, "dies") == 1  # asked for in its last moment


def test_pausing_waits_for_the_trainer_and_resuming_goes_on(tuning: Tuning) -> None:
    hub, job = tuning.hub, tuning.queued()
    [claim] = tuning.claim()
    leasing.beat(hub, report(claim, 1, steps=1, is_running=True))
    assert control.pause(hub, tuning.alice, job.name).status == "running"
    assert leasing.beat(hub, report(claim, 2)) == "pause"
    tuning.keep(claim, 3)
    leasing.end(hub, job.name, claim.fence, "paused")
    assert tuning.state(job).status == "paused"
    assert tuning.claim() == []
    assert not leasing.has_unfinished(hub)
    assert control.resume(hub, tuning.alice, job.name).status == "queued"
    [again] = tuning.claim()
    assert again.checkpoints == [3]
    control.pause(hub, tuning.alice, job.name)
    tuning.lapse()  # the trainer died before it heard of it
    assert tuning.claim() == []
    assert tuning.state(job).status == "paused"


def test_what_a_waiting_job_needs_may_go(tuning: Tuning) -> None:
    hub = tuning.hub
    without_file = tuning.queued()
    delete_file(hub, tuning.alice, tuning.file)
    row = store_file(hub, tuning.alice, [b"{}"], filename="b", purpose="fine-tune")
    tuning.file = row.name
    without_base = tuning.queued()
    assert tuning.claim(most=1)[0].job.name == without_base.name
    tuning.lapse()
    with hub.db.read() as session:
        base = session.scalars(select(Repo).where(Repo.key == "model/alice/base")).one()
    delete_repo(hub, base)
    assert tuning.claim() == []
    told = [json.loads(tuning.state(job).error or "") for job in (without_file, without_base)]
    assert [(each["code"], each["param"]) for each in told] == [
        ("file_not_found", "training_file"),
        ("model_not_found", "model"),
    ]


@pytest.mark.parametrize("called", ["alice/base", "alice/renamed"])
def test_jobs_follow_a_base_that_is_renamed(tuning: Tuning, called: str) -> None:
    """Who trains on it already knows it by the old name, who starts then by the new one."""
    hub, job = tuning.hub, tuning.queued()
    with hub.db.read() as session:
        base = session.scalars(select(Repo).where(Repo.key == "model/alice/base")).one()
    move_repo(hub, tuning.alice, base, "alice", "renamed")
    assert [each.base for each in leasing.list_work(hub)] == ["alice/renamed"]
    assert [each.job.name for each in tuning.claim(base=called)] == [job.name]


def test_of_a_whole_model_only_the_newest_state_takes_room(tuning: Tuning) -> None:
    hub = tuning.hub
    tuning.queued(method="full")
    [claim] = tuning.claim(full=True)
    states = [bytes([step]) * 100_000 for step in range(1, 5)]
    for step, state in enumerate(states, start=1):
        tuning.keep(claim, step, state)
    tuning.clock.advance(timedelta(days=2).total_seconds())  # uploads hold what they brought
    collect(hub, now=True)
    with hub.db.read() as session:
        [row] = session.scalars(select(TuningCheckpoint))
        sizes = session.scalars(select(File.size).where(File.state == "live")).all()
    assert read_file(hub, row.file_id, row.nbytes) == states[-1]
    assert sum(size >= 100_000 for size in sizes) == 1
    assert fsck(hub, deep=True).clean


def test_rights_that_were_lost_meanwhile_are_asked_for_again(tuning: Tuning) -> None:
    hub = tuning.hub
    create_user(hub, "bob", token="hf_bob", orgs=["team"])
    join_org(hub, "team", "alice", "write")
    with hub.db.read() as session:
        tuning.alice = authenticate(session, "hf_alice", now=hub.clock.now())
    job = tuning.queued(publish={"repo": "team/result"})
    [claim] = tuning.claim()
    with hub.db.write() as session:
        for row in session.scalars(
            select(Membership).where(Membership.user_id == tuning.alice.account_id)
        ):
            session.delete(row)
    with pytest.raises(Forbidden):
        results.open_publication(hub, job.name, claim.fence)


def test_two_checkpoints_are_kept_and_go_a_week_after_the_end(tuning: Tuning) -> None:
    hub, job = tuning.hub, tuning.queued()
    [claim] = tuning.claim()
    for step in (1, 2, 3):
        tuning.keep(claim, step, b"state of step %d" % step)
    tuning.keep(claim, 3, b"the same step again")
    collect(hub, now=True)

    def kept() -> dict[int, bytes]:
        with hub.db.read() as session:
            rows = session.scalars(select(TuningCheckpoint)).all()
        return {row.step: read_file(hub, row.file_id, row.nbytes) for row in rows}

    assert kept() == {2: b"state of step 2", 3: b"the same step again"}
    with hub.db.read() as session, pytest.raises(ContentNotFound):
        results.find_checkpoint(session, hub, job.name, claim.fence, 1)
    leasing.end(hub, job.name, claim.fence, "succeeded", result={})
    prune_checkpoints(JobContext(hub, 0, {}))
    assert set(kept()) == {2, 3}
    tuning.clock.advance((KEPT + timedelta(minutes=1)).total_seconds())
    prune_checkpoints(JobContext(hub, 0, {}))
    assert kept() == {}
    collect(hub, now=True)
    assert fsck(hub, deep=True).clean
    with hub.db.read() as session:
        assert find_file(session, tuning.alice, tuning.file)
        assert session.scalar(select(AccessToken).where(AccessToken.revoked_at.is_(None)))


def test_files_are_looked_at_once_and_only_by_who_claimed_them(tuning: Tuning) -> None:
    hub, job = tuning.hub, tuning.job()
    claim = leasing.claim_unread(hub, "looker")
    assert claim is not None
    assert leasing.claim_unread(hub, "another") is None
    assert tuning.claim() == []
    leasing.validated(hub, job.name, claim.fence)
    with pytest.raises(LeaseLost):
        leasing.validated(hub, job.name, claim.fence)
    [claim] = tuning.claim()
    with pytest.raises(InvalidRequest, match="is queued"):
        leasing.validated(hub, job.name, claim.fence)
