"""Ten jobs in one process: each comes out as if a hub had had no other."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, snapshot_download
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from safetensors.torch import load_file

from tests.fixtures.server import Server, embedded_server
from tests.fixtures.training import Workshop
from tests.fixtures.tuning import messages, openai_client, x_hub
from tests.training.service.watching import SETTINGS, trainers, wait_for

pytestmark = pytest.mark.long

ENDS = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class Wanted:
    """A job: ``length`` of its texts at most, and what is asked beside that."""

    seed: int
    length: int = 40
    batch_size: int = 4
    wishes: Mapping[str, Any] = field(default_factory=dict)


FIRST = {
    "thin": Wanted(1, wishes={"steps": 160, "adapter": {"r": 1}}),
    "wide": Wanted(
        2,
        length=200,
        batch_size=2,
        wishes={"steps": 90, "adapter": {"r": 16, "dropout": 0.1}, "optimizer": {"lr": 5e-4}},
    ),
    "brief": Wanted(
        3, wishes={"steps": 25, "optimizer": {"lr": 3e-3, "schedule": "constant"}, "priority": 1}
    ),
    "paused": Wanted(
        4, batch_size=3, wishes={"steps": 400, "adapter": {"r": 4, "dropout": 0.2}, "priority": 2}
    ),
    "cancelled": Wanted(5, length=100, wishes={"steps": 1_000_000, "checkpoint_every": 10}),
    "long": Wanted(6, length=120, wishes={"steps": 220, "adapter": {"r": 3, "rslora": True}}),
    "narrow": Wanted(
        7, batch_size=8, wishes={"steps": 60, "adapter": {"target_modules": ["q_proj", "v_proj"]}}
    ),
}
LATER = {
    "poisoned": Wanted(8, wishes={"steps": 100, "optimizer": {"lr": 1e300, "max_grad_norm": None}}),
    "urgent": Wanted(
        9, length=80, wishes={"steps": 40, "priority": 90, "optimizer": {"warmup_steps": 10}}
    ),
    "last": Wanted(
        10,
        batch_size=1,
        wishes={
            "steps": 50,
            "priority": -5,
            "adapter": {"r": 2, "alpha": 1.0},
            "optimizer": {"lr": 1e-3, "schedule": "linear", "weight_decay": 0.1},
            "publish": {"form": "both"},
        },
    ),
}


class Asking:
    """Who asks one hub for jobs on a base."""

    def __init__(self, server: Server, shop: Workshop, client: OpenAI) -> None:
        self.server, self.shop = server, shop
        self.jobs = client.fine_tuning.jobs
        self.client = client
        api = HfApi(endpoint=server.url, token=server.token)
        api.create_repo("clade/base")
        api.upload_folder(repo_id="clade/base", folder_path=shop.base(dtype=torch.float64))

    def ask(self, name: str, wanted: Wanted) -> str:
        """The job's id."""
        path = texts(self.shop.home / f"{name}.jsonl", wanted)
        with path.open("rb") as data:
            file = self.client.files.create(file=data, purpose="fine-tune").id
        hyper = {"batch_size": wanted.batch_size}
        return self.jobs.create(
            model="clade/base",
            training_file=file,
            suffix=name,
            seed=wanted.seed,
            method={"type": "supervised", "supervised": {"hyperparameters": hyper}},  # type: ignore[typeddict-item]
            extra_body={"x_hub": wanted.wishes},
        ).id

    def wait(self, job: str, *, steps: int = 0, status: frozenset[str] = frozenset()) -> str:
        """Until it is in one of these states or has got so far; its state."""

        def look() -> str | None:
            now = self.jobs.retrieve(job)
            has_come = bool(steps) and x_hub(now)["steps_done"] >= steps
            return now.status if now.status in status or has_come else None

        return wait_for(look)

    def end(self, job: str) -> FineTuningJob:
        self.wait(job, status=frozenset(ENDS))
        return self.jobs.retrieve(job)

    def adapter(self, job: str) -> dict[str, torch.Tensor]:
        """As it was published, downloaded."""
        repo = x_hub(self.jobs.retrieve(job))["target"]
        to = snapshot_download(
            repo,
            endpoint=self.server.url,
            token=self.server.token,
            local_dir=self.server.home / repo,
        )
        return load_file(Path(to) / "adapter_model.safetensors")


def texts(path: Path, wanted: Wanted) -> Path:
    chance = torch.Generator().manual_seed(wanted.seed)
    letters = torch.randint(97, 123, (11, wanted.length), generator=chance)
    lengths = torch.randint(wanted.length // 2, wanted.length, (11,), generator=chance)
    with path.open("w") as file:
        for row, length in zip(letters.tolist(), lengths.tolist(), strict=True):
            text = "".join(map(chr, row[:length]))
            line = {"prompt": text[: length // 2], "completion": text[length // 2 :]}
            file.write(json.dumps(line) + "\n")
    return path


@contextmanager
def asking(home: Path) -> Iterator[Asking]:
    """Somebody at a fresh hub."""
    (home / "server").mkdir(parents=True)
    with (
        embedded_server(home / "server", **SETTINGS | {"CLADE_JOBS__THREADS": "1"}) as server,
        openai_client(server.url, server.token) as client,
    ):
        yield Asking(server, Workshop(home), client)


@pytest.mark.timeout(900)
def test_ten_jobs_of_one_process_come_out_as_each_alone(tmp_path: Path) -> None:
    with asking(tmp_path / "together") as there:
        ids = {name: there.ask(name, wanted) for name, wanted in FIRST.items()}
        there.wait(ids["long"], steps=5)
        [trainer] = trainers(there.server)
        ids |= {name: there.ask(name, wanted) for name, wanted in LATER.items()}
        there.wait(ids["paused"], steps=10)
        there.jobs.pause(ids["paused"])
        assert there.wait(ids["paused"], status=frozenset({"paused"})) == "paused"
        there.wait(ids["brief"], status=frozenset(ENDS))
        there.jobs.resume(ids["paused"])
        # The one that has no end of its own is every other's neighbour before it is cancelled.
        for job in ids.values():
            there.wait(job, steps=1, status=frozenset(ENDS))
        assert there.jobs.retrieve(ids["cancelled"]).status == "running"
        there.jobs.cancel(ids["cancelled"])
        done = {name: there.end(job) for name, job in ids.items()}
        assert trainers(there.server) == [trainer]
        unlike = {n: (j.status, j.error) for n, j in done.items() if j.status != "succeeded"}
        assert unlike.keys() == {"poisoned", "cancelled"}, unlike
        assert (done["poisoned"].status, done["cancelled"].status) == ("failed", "cancelled")
        assert done["poisoned"].error is not None
        assert "steps in a row could not be used" in done["poisoned"].error.message
        told = messages(there.client, done["paused"])
        assert any(each.startswith("Going on from the checkpoint of step") for each in told)
        together = {n: there.adapter(j.id) for n, j in done.items() if j.status == "succeeded"}
    with asking(tmp_path / "alone") as there:
        for name, ours in together.items():
            job = there.ask(name, (FIRST | LATER)[name])
            now = there.end(job)
            assert now.status == "succeeded", (name, now.error, messages(there.client, now))
            theirs = there.adapter(job)
            assert ours.keys() == theirs.keys()
            far = max(float((ours[key] - theirs[key]).abs().max()) for key in ours)
            assert far <= 1e-6, name
