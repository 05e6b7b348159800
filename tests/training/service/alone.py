"""A job as it comes out without hub, service and company: what others are compared with."""

from pathlib import Path
from typing import Any

import torch

from training.jobs.checkpoint import Checkpoints
from training.jobs.lora_run import LoraRun
from training.jobs.origin import Origin
from training.jobs.spec import JobSpec
from training.jobs.workshop import Workshop
from training.sched.shape import Layout
from training.service.options import TrainerOptions


def train_alone(home: Path, data: str, **spec: Any) -> dict[str, torch.Tensor]:
    """Adapter weights after training on ``home/base``; ``spec``: as a training file has it."""
    origin = Origin("base", home / "base", None)
    cache = home / "alone"
    workshop = Workshop(origin, dtype="auto", device="cpu", cache=cache)
    job = JobSpec(name="alone", data=home / data, batch_size=4, **spec)
    track = workshop.track(job, Checkpoints(cache / data / "states"), 1000)
    run = LoraRun(TrainerOptions(hub="", cache=cache).limits(Layout.PACKED), workshop.model)
    run.add(track)
    run.run(lambda _: None, lambda: False)
    state = run.jobs["alone"].state()
    return {name: each for name, each in state.items() if name.startswith("adapter.")}
