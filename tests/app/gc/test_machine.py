"""Uploads, deletions, jobs and collections without grace in any order, against a dictionary."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.gc.collect import collect
from app.jobs.runner import run_one
from app.settings import Settings
from app.tasks import HANDLERS
from tests.fixtures.hub import open_test_hub
from tests.fixtures.models import ModelHub, as_bf16, base_weights, tuned, weight_file

SHAPES = {"embed_tokens.weight": (1100, 16), "layers.0.up.weight": (64, 64), "norm.weight": (64,)}
BASE = as_bf16(base_weights(shapes=SHAPES))
FILES = [
    weight_file(BASE),
    *(weight_file(tuned(BASE, seed, 5e-4)) for seed in (1, 2)),
    weight_file(tuned(BASE, 3, 2e-4, only=["layers.0.up.weight"])),
    weight_file(base_weights(9, SHAPES)),
    b"plain text " * 4000,
    b"small",
]
REPOS = ["alice/a", "alice/b", "bob/c"]


class HubMachine(RuleBasedStateMachine):
    """The hub on one side, ``ModelHub.pushed`` on the other."""

    migrated: bytes = b""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="clade-machine-"))
        (self.directory / "hub.sqlite").write_bytes(self.migrated)
        self.models = ModelHub(open_test_hub(Settings(data=self.directory)))

    def teardown(self) -> None:
        self.models.hub.close()
        shutil.rmtree(self.directory)

    @rule(
        repo=st.sampled_from(REPOS),
        path=st.sampled_from(["x.bin", "dir/y.bin"]),
        data=st.sampled_from(FILES),
    )
    def push(self, repo: str, path: str, data: bytes) -> None:
        self.models.push(repo, {path: data})

    @precondition(lambda self: self.models.pushed)
    @rule(pick=st.integers(0, 100))
    def delete_repo(self, pick: int) -> None:
        self.models.delete_repo(sorted(self.models.pushed)[pick % len(self.models.pushed)])

    @precondition(lambda self: any(self.models.pushed.values()))
    @rule(pick=st.integers(0, 100))
    def remove_file(self, pick: int) -> None:
        places = sorted((r, p) for r, files in self.models.pushed.items() for p in files)
        self.models.remove(*places[pick % len(places)])

    @rule(count=st.integers(1, 4))
    def run_some_jobs(self, count: int) -> None:
        for _ in range(count):
            run_one(self.models.hub, HANDLERS, "machine")

    @rule()
    def run_all_jobs(self) -> None:
        self.models.run_jobs()

    @rule()
    def collect_now(self) -> None:
        collect(self.models.hub, now=True)

    @rule(days=st.integers(1, 3))
    def days_pass_and_collections_run(self, days: int) -> None:
        for _ in range(days):
            self.models.hub.clock.sleep(24 * 3600 + 1)
            collect(self.models.hub)

    @invariant()
    def everything_comes_back(self) -> None:
        self.models.check(deep=False)


@pytest.mark.timeout(600)
def test_hub_agrees_with_a_dictionary(migrated_sqlite: bytes):
    HubMachine.migrated = migrated_sqlite
    run_state_machine_as_test(
        HubMachine,
        settings=settings(
            max_examples=12,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
