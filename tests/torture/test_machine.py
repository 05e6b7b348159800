"""Whatever users, jobs, collectors, clocks and crashes do, in any order, against a dictionary."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.catalog.operations import DeleteFile
from app.catalog.refs import create_branch, delete_branch
from app.db import Database
from app.db.tables import Table
from app.gc.collect import collect
from app.gc.periodic import sweep_store
from app.ingest.stream import ingest_stream
from app.jobs.context import JobContext
from app.jobs.runner import run_one
from app.settings import Settings
from app.store.contract import ObjectStore
from app.tasks import HANDLERS
from tests.crash import background, histories, uploads
from tests.crash.samples import BASE, SHAPES, TUNED, random_bytes
from tests.crash.stage import Act, Stage
from tests.fixtures.hub import open_test_store
from tests.fixtures.models import base_weights, tuned, weight_file
from tests.torture.budget import IS_LONG, Ledger, Summary, budget, piece_s, told

FILES = [
    weight_file(BASE),
    *TUNED,
    weight_file(tuned(BASE, 3, 2e-4, only=["layers.0.up.weight"])),
    weight_file(base_weights(9, SHAPES)),
    random_bytes(5, 30_000),
    b"plain text " * 4000,
    b"small",
]
REPOS = ["a", "b", "c"]
PATHS = ["x.bin", "y.bin"]
DAY_S = 24 * 3600
STEPS = 50 if IS_LONG else 20
"""Of a history, at most."""
Place = tuple[Settings, Database, ObjectStore | None]
LANES = {"lfs": uploads.lfs_upload, "xet": uploads.xet_upload}


def collect_what_is_due(stage: Stage) -> None:
    collect(stage.hub)


class HubMachine(RuleBasedStateMachine):
    """A stage on one side; what it acknowledged on the other."""

    empty_hub: Callable[[], AbstractContextManager[Place]]
    """A place without anything, for one history."""
    summary: Summary

    def __init__(self) -> None:
        super().__init__()
        self.fuse = -1
        self.branches = 0
        self.was_checked = True
        self.place = type(self).empty_hub()
        settings, db, store = self.place.__enter__()
        self.stage = Stage(settings, db, store, dies=self._dies, lives_on=True)

    def teardown(self) -> None:
        try:
            self.fuse = -1
            self.stage.finish()
        finally:
            self.stage.close()
            self.place.__exit__(None, None, None)
        self.summary.count("deaths", len(self.stage.deaths))
        self.summary.count("histories")

    def _dies(self, _step: str) -> bool:
        self.fuse -= 1
        return self.fuse == 0

    def play(self, act: Act) -> None:
        self.summary.count("steps")
        self.was_checked = False
        self.stage.play(act)

    def _places(self) -> list[tuple[str, str, str]]:
        return sorted(self.stage.acknowledged)

    def _repo(self, pick: int) -> str:
        names = sorted({name for name, _, _ in self.stage.acknowledged})
        return names[pick % len(names)]

    @rule()
    def another_process_goes_on(self) -> None:
        self.stage.restart()

    @rule(steps=st.integers(1, 25))
    def die_after_so_many_steps(self, steps: int) -> None:
        self.fuse = steps

    @rule(
        repo=st.sampled_from(REPOS),
        path=st.sampled_from(PATHS),
        lane=st.sampled_from(["lfs", "xet", "inline"]),
        data=st.sampled_from(FILES),
    )
    def push(self, repo: str, path: str, lane: str, data: bytes) -> None:
        self.play(histories.create(repo))
        upload = LANES.get(lane, uploads.inline_commit)
        self.play(upload(repo, path, data))

    @precondition(lambda self: self.stage.acknowledged)
    @rule(pick=st.integers(0, 100), data=st.sampled_from(FILES))
    def upload_that_nobody_commits(self, pick: int, data: bytes) -> None:
        def act(stage: Stage) -> None:
            repo_id = stage.repo(self._repo(pick)).id
            ingest_stream(stage.hub, [data], nbytes=len(data), sha256=None, repo_id=repo_id)

        self.play(act)

    @precondition(lambda self: self.stage.acknowledged)
    @rule(pick=st.integers(0, 100))
    def remove_file(self, pick: int) -> None:
        places = [each for each in self._places() if each[1] == "main"]
        if not places:
            return
        name, branch, path = places[pick % len(places)]

        def act(stage: Stage) -> None:
            stage.acknowledged.pop((name, branch, path), None)
            if path in stage.files(name, branch):
                stage.commit(name, {}, [DeleteFile(path)])

        self.play(act)

    @precondition(lambda self: self.stage.acknowledged)
    @rule(pick=st.integers(0, 100))
    def branch(self, pick: int) -> None:
        name, self.branches = self._repo(pick), self.branches + 1
        branch = f"branch{self.branches}"

        def act(stage: Stage) -> None:
            if branch not in stage.branches(name):
                create_branch(stage.hub, stage.repo(name), branch, None)
            for repo, on, path in self._places():
                if (repo, on) == (name, "main"):
                    stage.acknowledged[name, branch, path] = stage.acknowledged[name, on, path]

        self.play(act)

    @precondition(lambda self: any(on != "main" for _, on, _ in self.stage.acknowledged))
    @rule(pick=st.integers(0, 100))
    def delete_branch(self, pick: int) -> None:
        on_branches = [each for each in self._places() if each[1] != "main"]
        name, branch, _ = on_branches[pick % len(on_branches)]

        def act(stage: Stage) -> None:
            for place in self._places():
                if place[:2] == (name, branch):
                    del stage.acknowledged[place]
            if branch in stage.branches(name):
                delete_branch(stage.hub, stage.repo(name), branch)

        self.play(act)

    @precondition(lambda self: self.stage.acknowledged)
    @rule(pick=st.integers(0, 100))
    def squash(self, pick: int) -> None:
        self.play(histories.squash_history(self._repo(pick)))

    @precondition(lambda self: self.stage.acknowledged)
    @rule(pick=st.integers(0, 100))
    def delete_repo(self, pick: int) -> None:
        self.play(histories.delete(self._repo(pick)))

    @precondition(lambda self: self.stage.acknowledged)
    @rule(pick=st.integers(0, 100))
    def move(self, pick: int) -> None:
        name, self.branches = self._repo(pick), self.branches + 1
        self.play(histories.move(name, f"moved{self.branches}"))

    @rule(count=st.integers(1, 4))
    def run_some_jobs(self, count: int) -> None:
        def act(stage: Stage) -> None:
            for _ in range(count):
                run_one(stage.hub, HANDLERS, "machine")

        self.play(act)

    @rule(
        act=st.sampled_from([background.run_jobs, background.reencode, background.collect_now]),
    )
    def work(self, act: Callable[[Stage], None]) -> None:
        self.play(act)

    @rule(days=st.integers(1, 3))
    def days_pass_and_collections_run(self, days: int) -> None:
        for _ in range(days):
            self.stage.clock.advance(DAY_S + 1)
            self.play(collect_what_is_due)

    @rule()
    def sweep(self) -> None:
        self.play(lambda stage: sweep_store(JobContext(stage.hub, 0, {})))

    @rule(days=st.sampled_from([-400, -2, 2, 400]))
    def clock_jumps(self, days: int) -> None:
        self.stage.clock.advance(days * DAY_S)
        self.stage.clock_was_ahead_s += max(0, -days) * DAY_S

    @invariant()
    def everything_comes_back(self) -> None:
        if not self.was_checked:
            self.stage.check()
            self.was_checked = True


@contextmanager
def embedded_places(
    data: Path, migrated: bytes
) -> Iterator[Callable[[], AbstractContextManager[Place]]]:
    """The same directory, emptied, for one history after another."""
    settings = Settings(data=data)
    with Database(settings.resolved_database_url) as database:

        @contextmanager
        def empty() -> Iterator[Place]:
            data.mkdir()
            (data / "hub.sqlite").write_bytes(migrated)
            yield settings, database, None
            database.dispose()
            shutil.rmtree(data)

        yield empty


@contextmanager
def production_places(settings: Settings) -> Iterator[Callable[[], AbstractContextManager[Place]]]:
    """The same database and bucket, emptied; connections to both stay open."""
    with (
        Database(settings.resolved_database_url) as database,
        closing(open_test_store(settings)) as store,
    ):
        tables = ", ".join(table.name for table in Table.metadata.sorted_tables)

        @contextmanager
        def empty() -> Iterator[Place]:
            yield settings, database, store
            for stat in list(store.list()):
                store.delete(stat.key)
            with database.write() as session:
                session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))

        yield empty


def play(
    mode: str,
    empty_hub: Callable[[], AbstractContextManager[Place]],
    short: int,
    tell: Callable[[str], None],
) -> None:
    """Histories until there were as many steps as are wanted."""
    attack = f"machine, {mode}"
    done = Ledger(attack).totals()["steps"]
    wanted = budget("MACHINE_STEPS", short=short, long=10_000) - done
    with told(attack, tell) as summary:

        class Machine(HubMachine):
            pass

        Machine.empty_hub, Machine.summary = staticmethod(empty_hub), summary
        draws, ends = random.Random(summary.seed), time.monotonic() + piece_s()
        while summary.counts.get("steps", 0) < wanted and time.monotonic() < ends:
            run_state_machine_as_test(
                hypothesis_seed(draws.randrange(1 << 32))(Machine),
                settings=settings(
                    max_examples=10,
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )


@pytest.mark.timeout(0)
def test_embedded_hub_agrees_with_a_dictionary(
    migrated_sqlite: bytes, tmp_path: Path, tell: Callable[[str], None]
):
    with embedded_places(tmp_path / "data", migrated_sqlite) as empty:
        play("embedded", empty, 80, tell)


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_production_hub_agrees_with_a_dictionary(
    production_settings: Settings, tell: Callable[[str], None]
):
    with production_places(production_settings) as empty:
        play("production", empty, 40, tell)
