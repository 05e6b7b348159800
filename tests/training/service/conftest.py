"""A hub on the network with a tiny base, and trainers of it in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from safetensors.torch import load
from sqlalchemy import select

from app.accounts.users import create_user
from app.clock import SystemClock
from app.db.tables import TuningCheckpoint, TuningJob
from app.hub import Hub
from app.restore.bulk import read_file
from app.settings import Timers
from client.trainer import TrainerClient
from tests.fixtures.api import running_server
from tests.fixtures.training import Workshop
from tests.fixtures.tuning import openai_client
from tests.training.service.alone import train_alone
from training.service import counter
from training.service.one_base import BaseTrainer
from training.service.options import TrainerOptions
from training.service.supervisor import Supervisor

BASE = "alice/base"


@dataclass
class Service:
    """Alice's hub, client and base; ``root`` is whom trainers act as."""

    hub: Hub
    url: str
    shop: Workshop
    client: OpenAI
    memory_gb: float | None = None

    def file(self, name: str = "sums.jsonl", **data: Any) -> str:
        path = self.shop.data(name, **data)
        with path.open("rb") as file:
            return self.client.files.create(file=file, purpose="fine-tune").id

    def text_file(self, text: str, name: str = "bad.jsonl") -> str:
        return self.client.files.create(file=(name, text.encode()), purpose="fine-tune").id

    def job(self, file: str, *, seed: int = 0, n_epochs: int = 1, **wishes: Any) -> FineTuningJob:
        hyper = {"n_epochs": n_epochs, "batch_size": 4}
        return self.client.fine_tuning.jobs.create(
            model=BASE,
            training_file=file,
            seed=seed,
            method={"type": "supervised", "supervised": {"hyperparameters": hyper}},  # type: ignore[typeddict-item]
            extra_body={"x_hub": wishes},
        )

    def now(self, job: FineTuningJob) -> FineTuningJob:
        return self.client.fine_tuning.jobs.retrieve(job.id)

    def look_at_files(self) -> None:
        """What a supervisor does before anything is trained."""
        with self.trainer() as client:
            looker = Supervisor(client, self.options, "hf_root", "looker", leaves=True)
            while looker._look_at_files():
                pass

    def trainer(self) -> TrainerClient:
        return TrainerClient(self.url, "hf_root")

    @property
    def options(self) -> TrainerOptions:
        cache = self.shop.home / "cache"
        return TrainerOptions(hub=self.url, cache=cache, idle_s=0.0, memory_gb=self.memory_gb)

    def train(
        self,
        *,
        until: Callable[[], bool] = lambda: False,
        full: bool = False,
        base: str = BASE,
    ) -> None:
        """Train what there is, in this thread, until it is done or ``until`` says so."""
        self.look_at_files()
        with self.hub.db.read() as session:
            commit = session.scalars(select(TuningJob.commit).limit(1)).one()
        with self.trainer() as client:
            one = BaseTrainer(client, self.options, base, commit, "trainer")
            (one.run_full if full else one.run_together)(until)

    def adapter(self, job: FineTuningJob) -> dict[str, torch.Tensor]:
        """Of the newest checkpoint, as it was trained."""
        with self.hub.db.read() as session:
            row = session.scalars(
                select(TuningCheckpoint)
                .join(TuningJob, TuningJob.id == TuningCheckpoint.job_id)
                .where(TuningJob.name == job.id)
                .order_by(TuningCheckpoint.step.desc())
            ).first()
        assert row is not None
        state = load(read_file(self.hub, row.file_id, row.nbytes))
        return {name: each for name, each in state.items() if name.startswith("adapter.")}

    def alone(self, data: str, **spec: Any) -> dict[str, torch.Tensor]:
        """What the same job comes to by itself."""
        return train_alone(self.shop.home, data, **spec)


@contextmanager
def serving(hub: Hub, home: Path, dtype: torch.dtype) -> Iterator[Service]:
    hub.clock = SystemClock()
    timers = Timers.model_validate(hub.settings.timers.model_dump() | {"tuning_lease_s": 30})
    jobs = hub.settings.jobs.model_copy(update={"threads": 0})
    hub.settings = hub.settings.model_copy(update={"timers": timers, "jobs": jobs})
    create_user(hub, "alice", token="hf_alice")
    create_user(hub, "root", token="hf_root", admin=True)
    shop = Workshop(home)
    with running_server(hub) as url, openai_client(url, "hf_alice") as client:
        api = HfApi(endpoint=url, token="hf_alice")
        api.create_repo(BASE)
        api.upload_folder(repo_id=BASE, folder_path=shop.base(dtype=dtype))
        yield Service(hub, url, shop, client)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compressed here while a result waits for it."""
    monkeypatch.setattr(counter, "SETTLE_S", 0.0)


@pytest.fixture
def service(hub: Hub, tmp_path: Path) -> Iterator[Service]:
    """An embedded hub."""
    with serving(hub, tmp_path, torch.float32) as running:
        yield running


@pytest.fixture
def any_service(any_hub: Hub, tmp_path: Path) -> Iterator[Service]:
    """A hub of either kind; its base is of float64, so that runs can be compared closely."""
    with serving(any_hub, tmp_path, torch.float64) as running:
        yield running
