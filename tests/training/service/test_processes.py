"""Trainers as processes: killed without warning, with their hub or without, in mid-job."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from huggingface_hub import HfApi, snapshot_download
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from safetensors.torch import load_file

from app.settings import Settings
from tests.fixtures.server import Server, embedded_server, production_stack
from tests.fixtures.training import Workshop
from tests.fixtures.tuning import messages, openai_client, x_hub
from tests.training.service.alone import train_alone
from tests.training.service.watching import PATIENCE_S, SETTINGS, trainers, wait_for
from training.service.holders import Holders

pytestmark = pytest.mark.long

STEPS = 120


class Owner:
    """Who has a base on a hub, and asks for jobs on it."""

    def __init__(self, server: Server, shop: Workshop, client: OpenAI) -> None:
        self.server, self.shop, self.client = server, shop, client
        self.api = HfApi(endpoint=server.url, token=server.token)
        self.api.create_repo("clade/base")
        self.api.upload_folder(repo_id="clade/base", folder_path=shop.base(dtype=torch.float64))
        path = shop.data("sums.jsonl")
        with path.open("rb") as file:
            self.file = client.files.create(file=file, purpose="fine-tune").id

    def job(self, steps: int = STEPS) -> FineTuningJob:
        hyper = {"batch_size": 4}
        wishes = {"steps": steps, "checkpoint_every": 5, "adapter": {"r": 2, "dropout": 0.1}}
        return self.client.fine_tuning.jobs.create(
            model="clade/base",
            training_file=self.file,
            seed=1,
            method={"type": "supervised", "supervised": {"hyperparameters": hyper}},  # type: ignore[typeddict-item]
            extra_body={"x_hub": wishes},
        )

    def steps(self, job: FineTuningJob) -> int:
        now = self.client.fine_tuning.jobs.retrieve(job.id)
        assert now.status not in {"failed", "succeeded"}, now
        return x_hub(now)["steps_done"]

    def wait_beyond(self, job: FineTuningJob, steps: int) -> int:
        """Until more than these were told of."""
        return wait_for(lambda: done if (done := self.steps(job)) > steps else None)

    def end(self, job: FineTuningJob) -> FineTuningJob:
        def over() -> FineTuningJob | None:
            now = self.client.fine_tuning.jobs.retrieve(job.id)
            return now if now.status in {"succeeded", "failed"} else None

        return wait_for(over)

    def check(self, job: FineTuningJob, steps: int = STEPS) -> None:
        """The result is that of a run that nobody disturbed."""
        now = self.end(job)
        assert now.status == "succeeded", now.error
        repo = x_hub(now)["target"]
        to = Path(
            snapshot_download(
                repo,
                endpoint=self.server.url,
                token=self.server.token,
                local_dir=self.shop.home / "pulled",
            )
        )
        ours = load_file(to / "adapter_model.safetensors")
        spec = {"seed": 1, "steps": steps, "adapter": {"r": 2, "dropout": 0.1}}
        theirs = train_alone(self.shop.home, "sums.jsonl", **spec)
        for name, expected in theirs.items():
            found = ours[name.removeprefix("adapter.")]
            assert torch.allclose(found.double(), expected.double(), rtol=0, atol=1e-6), name
        commits = [each.title for each in self.api.list_repo_commits(repo)]
        assert sum("Train" in title for title in commits) == 1


@contextmanager
def owning(home: Path, **settings: str) -> Iterator[Owner]:
    (home / "server").mkdir()
    with (
        embedded_server(home / "server", **SETTINGS | settings) as server,
        openai_client(server.url, server.token) as client,
    ):
        yield Owner(server, Workshop(home), client)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    with owning(tmp_path) as owner:
        yield owner


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Owner]:
    """Of a hub whose leases last for longer than any test."""
    with owning(tmp_path, CLADE_TIMERS__TUNING_LEASE_S="36000") as owner:
        yield owner


def test_a_hub_on_its_own_trains_what_it_is_asked_for(owner: Owner) -> None:
    owner.check(owner.job(3), 3)


@pytest.mark.attacks
@pytest.mark.timeout(600)
def test_a_job_outlives_its_trainer_and_its_hub(owner: Owner) -> None:
    job = owner.job()
    done = owner.wait_beyond(job, 5)
    [trainer] = trainers(owner.server)
    trainer.send_signal(signal.SIGKILL)
    done = owner.wait_beyond(job, done + 10)
    orphans = below(owner.server)
    owner.server.kill()
    for orphan in orphans:  # they notice that nobody holds the other end of their input
        orphan.wait(PATIENCE_S)
    owner.server.start()
    owner.check(job)
    told = messages(owner.client, job)
    assert any("trainer was lost" in each for each in told)
    assert sum(each.startswith("Going on from the checkpoint") for each in told) >= 2


def below(server: Server) -> list[psutil.Process]:
    """All that a server has started."""
    return psutil.Process(server.process.pid).children(recursive=True)


@pytest.mark.attacks
@pytest.mark.timeout(600)
def test_who_died_is_not_waited_for_until_its_lease_runs_out(patient: Owner) -> None:
    steps = 200
    job = patient.job(steps)
    done = patient.wait_beyond(job, 5)
    [trainer] = trainers(patient.server)
    trainer.kill()
    done = patient.wait_beyond(job, done + 10)
    for each in below(patient.server):  # whoever could have told of the others is among them
        each.kill()
    done = patient.wait_beyond(job, done + 10)
    orphans = below(patient.server)
    patient.server.kill()
    for each in orphans:
        each.kill()
        each.wait(PATIENCE_S)
    patient.server.start()
    patient.check(job, steps)
    told = messages(patient.client, job)
    assert sum("trainer was lost" in each for each in told) == 3


@pytest.mark.attacks
@pytest.mark.timeout(600)
def test_who_sleeps_is_not_taken_for_dead(patient: Owner) -> None:
    job = patient.job()
    patient.wait_beyond(job, 5)
    [trainer] = trainers(patient.server)
    trainer.suspend()
    holders = Holders(patient.server.data / "trainer", patient.server.url)
    with holders.named() as dead:
        pass
    wait_for(lambda: True if dead not in holders.dead() else None)  # all were looked at, and told
    trainer.resume()
    patient.check(job)
    assert not any("lost" in each for each in messages(patient.client, job))


@contextmanager
def trainer_of(server: Server, home: Path) -> Iterator[psutil.Process]:
    """`clade trainer` as an operator starts it."""
    command = [str(Path(sys.executable).parent / "clade"), "trainer", "--hub", server.url]
    options = ["--idle", "3", "--threads", "1", "--cache", str(home)]
    with (home.parent / f"{home.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "HF_TOKEN": server.token},
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def each_process(trainer: psutil.Process) -> list[psutil.Process]:
    return [trainer, *trainer.children(recursive=True)]


@pytest.mark.attacks
@pytest.mark.timeout(600)
def test_who_slept_through_its_lease_changes_nothing(
    production_settings: Settings, broker_url: str, tmp_path: Path
) -> None:
    (tmp_path / "server").mkdir()
    lease = {"CLADE_TIMERS__TUNING_LEASE_S": "3"}
    with (
        production_stack(tmp_path / "server", production_settings, broker_url, **lease) as server,
        openai_client(server.url, server.token) as client,
    ):
        owner = Owner(server, Workshop(tmp_path), client)
        with trainer_of(server, tmp_path / "sleeper") as sleeper:
            job = owner.job()
            owner.wait_beyond(job, 5)
            asleep = each_process(sleeper)
            for each in asleep:
                each.suspend()
            with trainer_of(server, tmp_path / "other"):
                owner.check(job)
                said = messages(client, job)
            for each in asleep:
                each.resume()
            [_, child, *_] = asleep  # and what renders its chats
            child.wait(PATIENCE_S)  # finds that the job is gone, and has nothing else to do
        assert messages(client, job) == said
        owner.check(job)
