"""Any two things that happen to a hub may happen at the same time, whichever comes first."""

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from app.backup.making import make_backup
from app.db import Database
from app.db.tables import Job
from app.errors import MissingUploads, RepoNotFound
from app.gc import sweeping
from app.gc.scrub import scrub
from app.ingest.stream import ingest_stream
from app.jobs import lease
from app.jobs.context import JobContext
from app.jobs.lease import JobLost
from app.settings import Settings
from app.store.local import LocalStore
from tests.crash.background import collect_now, reencode, run_jobs
from tests.crash.histories import create, delete, hide, squash_history
from tests.crash.races import Scene, race
from tests.crash.samples import BASE, CHUNKS, PARTS, TUNED
from tests.crash.stage import Act, Stage, small_parts
from tests.crash.uploads import (
    git_push,
    inline_commit,
    lfs_upload,
    multipart_upload,
    xet_upload,
)
from tests.fixtures.models import weight_file
from tests.fixtures.services import empty_database
from tests.torture.budget import Ledger, budget, piece_s, told

pytestmark = pytest.mark.long

GOING = TUNED[2]
"""A file that was sent and never committed, and that nobody holds any more."""


def send_what_goes(stage: Stage) -> None:
    ingest_stream(stage.hub, [GOING], nbytes=len(GOING), sha256=None, repo_id=stage.repo("one").id)


def commit_what_goes(stage: Stage) -> None:
    """As a client that was told that it is stored, some time ago."""
    try:
        stage.commit_lfs("one", "known.safetensors", GOING)
    except MissingUploads:
        lfs_upload("one", "known.safetensors", GOING)(stage)


def sweep(stage: Stage) -> None:
    sweeping.sweep(stage.hub, grace_s=0)


def read_everything(stage: Stage) -> None:
    """What waits to be encoded first: it moves soonest."""
    for place in sorted((each for each in stage.acknowledged if each[0] == "one"), reverse=True):
        assert stage.read(*place) == stage.acknowledged[place]


def hide_the_base(stage: Stage) -> None:
    """Unless somebody deleted it meanwhile."""
    with suppress(RepoNotFound):
        hide("two")(stage)


def look_for_rot(stage: Stage) -> None:
    scrub(JobContext(stage.hub, 0, {}))


def back_up(stage: Stage) -> None:
    place = LocalStore(stage.settings.data / "backup")
    assert not make_backup(stage.hub, place).damaged


def run_slowly(stage: Stage) -> None:
    """A runner that beats, and gives its job back; whether or not the lease is over meanwhile."""
    claim = lease.claim_next(stage.hub, "slow")
    if claim is None:
        return
    with suppress(JobLost):
        lease.renew(stage.hub, claim, (1, 2))
        lease.give_back(stage.hub, claim)


def wake_up(stage: Stage) -> None:
    """Runners of before, whose jobs others have by now, learn that and change nothing."""
    with stage.hub.db.read() as session:
        running = session.scalars(select(Job).where(Job.state == "running")).all()
    for job in running:
        assert job.lease_until is not None
        claim = lease.Claim(job.id, job.kind, {}, 1, "slow/before", job.lease_until)
        for act in (
            partial(lease.renew, progress=(1, 2)),
            lease.give_back,
            partial(lease.fail, error="late"),
            partial(lease.finish, progress=(2, 2)),
        ):
            with pytest.raises(JobLost):
                act(stage.hub, claim)


def take_over(stage: Stage) -> None:
    """All jobs, those too whose runner is taken for dead."""
    stage.clock.advance(stage.settings.timers.job_lease_s + 1)
    run_jobs(stage)


def encode_and_collect(stage: Stage) -> None:
    """Then what was encoded anew goes, its grace period over."""
    reencode(stage)
    stage.clock.advance(stage.settings.timers.replaced_s + 1)
    collect_now(stage)


ACTS: dict[str, Act] = {
    "upload": lfs_upload("one", "new.bin", b"new " * 9000),
    "upload of what goes": lfs_upload("one", "again.safetensors", GOING),
    "commit of what goes": commit_what_goes,
    "upload in parts": multipart_upload("one", "parts.bin", PARTS),
    "Xet upload": xet_upload("one", "chunks.bin", CHUNKS),
    "inline commit": inline_commit("one", "a.txt", b"text\n" * 99),
    "push": git_push("one", "plain.txt", b"pushed\n" * 50, ("w.bin", TUNED[0])),
    "jobs": run_jobs,
    "slow runner": run_slowly,
    "late runner": wake_up,
    "take over": take_over,
    "re-encode": reencode,
    "collect": collect_now,
    "sweep": sweep,
    "delete the base": delete("two"),
    "hide the base": hide_the_base,
    "squash": squash_history("one"),
    "read": read_everything,
    "scrub": look_for_rot,
    "backup": back_up,
}

CLOSE = [
    ("upload", "publish_files", "upload"),
    ("upload of what goes", "plan_uploads", "collect"),
    ("collect", "condemn_files", "commit of what goes"),
    ("collect", "kill_files", "upload of what goes"),
    ("commit of what goes", "apply_commit", "collect"),
    ("upload", "begin", "sweep"),
    ("inline commit", "apply_commit", "push"),
    ("jobs", "swap", "jobs"),
    ("jobs", "swap", "collect"),
    ("jobs", "swap", "delete the base"),
    ("collect", "kill_contents", "jobs"),
    ("hide the base", "set_private", "jobs"),
    ("collect", "reap", "backup"),
    ("slow runner", "claim_next", "take over"),
    ("slow runner", "renew", "take over"),
    ("slow runner", "give_back", "take over"),
    ("take over", "claim_next", "slow runner"),
    ("take over", "swap", "late runner"),
    ("take over", "finish", "take over"),
    ("push", "publish_files", "collect"),
    ("push", "receive_push", "squash"),
    ("collect", "kill_files", "push"),
    ("re-encode", "swap", "collect"),
    ("re-encode", "swap", "delete the base"),
    ("collect", "kill_contents", "re-encode"),
]
"""Those that meet in the same rows, and whose commit the first is held before."""


BESIDE_LOOKS = {
    "read": ("jobs", "encode and collect", "collect", "push", "squash", "delete the base"),
    "sweep": ("upload", "push", "jobs", "collect"),
}
"""What goes on while somebody who commits nothing knows what is not so any more."""


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, postgres_template: str
) -> Iterator[Scene]:
    """A base, a delta of it, a fine-tune that waits to be encoded, and a file that is going."""
    place = tmp_path_factory.mktemp("races")
    copies = f"{postgres_server}/races"
    with (
        empty_database(postgres_server, f"TEMPLATE {postgres_template}") as url,
        Database(copies) as first,
        Database(copies) as second,
    ):
        settings = Settings(data=place / "data", database_url=SecretStr(url))
        timers = settings.timers.model_copy(update={"scrub_s": 1})
        stage = Stage(small_parts(settings).model_copy(update={"timers": timers}))
        for act in (
            create("one"),
            create("two"),
            lfs_upload("two", "base.safetensors", weight_file(BASE)),
            lfs_upload("one", "model.safetensors", TUNED[0]),
            send_what_goes,
            run_jobs,
            lfs_upload("one", "other.safetensors", TUNED[1]),
        ):
            act(stage)
        stage.clock.advance(stage.settings.timers.lease_s + 1)
        stage.hub.close()
        yield Scene(stage, copies, (first, second))


@pytest.mark.parametrize(("first", "at", "second"), CLOSE)
def test_close_acts(scene: Scene, tmp_path: Path, first: str, at: str, second: str):
    assert race(scene, tmp_path, ACTS[first], ACTS[second], at), f"{at} commits nothing"


@pytest.mark.parametrize(
    ("first", "second"), [(each, other) for each in BESIDE_LOOKS for other in BESIDE_LOOKS[each]]
)
def test_acts_beside_who_looks(scene: Scene, tmp_path: Path, first: str, second: str):
    """At the first look, and at a later one."""
    acts = {**ACTS, "encode and collect": encode_and_collect}
    held = [
        race(scene, tmp_path / str(at), acts[first], acts[second], at, "looks") for at in (1, 3)
    ]
    assert held[0], f"{first} looks at nothing"


@pytest.mark.attacks
@pytest.mark.timeout(0)
@pytest.mark.parametrize("first", ACTS)
def test_all_acts_at_every_commit(scene: Scene, tmp_path: Path, first: str, tell):
    most = budget("RACES", short=1, long=1000)
    ends = time.monotonic() + piece_s()
    with told(f"races, {first}", tell) as summary:
        done = Ledger(summary.attack).totals()
        for second, act in ACTS.items():
            if done[f"beside {second}"] or time.monotonic() > ends:
                continue
            for at in range(1, most + 1):
                place = tmp_path / f"{second}-{at}".replace(" ", "-")
                if not race(scene, place, ACTS[first], act, at):
                    break
                summary.count(f"beside {second}")
