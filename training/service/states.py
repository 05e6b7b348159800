"""A job's states on the hub, so that any trainer can go on from them."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from client.errors import ClientError, LeaseLost
from client.trainer import TrainerClient
from training.jobs.checkpoint import Found, NoRoom, read_state, write_state
from training.service.desk import Held


class HubStates:
    """What cannot be kept is told to the job's owner, and the job goes on: an older state stays."""

    def __init__(self, client: TrainerClient, held: Held, directory: Path) -> None:
        self._client = client
        self._held = held
        self._directory = directory

    def save(self, step: int, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Durable on the hub when it returns, or told not to be."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{self._held.claim.job}-{step}.safetensors"
        try:
            write_state(path, step, state, facts)
            self._client.keep_checkpoint(self._held.claim, step, path, _metrics(facts))
        except LeaseLost:
            self._held.lost()
        except (NoRoom, ClientError) as error:
            self._held.say(f"The state of step {step} could not be kept: {error}", "warn")
        finally:
            path.unlink(missing_ok=True)

    def load(self) -> Found | None:
        """The newest that can be read. Raises ClientError."""
        for step in self._held.claim.checkpoints:
            with tempfile.TemporaryDirectory(dir=self._directory) as home:
                path = Path(home) / "state.safetensors"
                self._client.fetch_checkpoint(self._held.claim, step, path)
                found = read_state(path)
            if found is not None:
                self._held.say(f"Going on from the checkpoint of step {step}")
                return found
            self._held.say(f"The checkpoint of step {step} cannot be read", "warn")
        return None


def _metrics(facts: Mapping[str, Any]) -> dict[str, float]:
    """Losses under the names that OpenAI's checkpoints have."""
    metrics: dict[str, float] = {}
    if facts["steps"]:
        last = facts["steps"][-1]
        metrics = {"step": last["step"], "train_loss": last["loss"]}
    if facts["evaluations"]:
        metrics["full_valid_loss"] = facts["evaluations"][-1]["valid_loss"]
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
