"""States of a job on disk: one file each, there as a whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from training.durable import write_whole

KEPT = 2
"""The newest, and the one before in case that one cannot be read."""


class NoRoom(Exception):
    """A checkpoint could not be written; those before are as they were."""


Found = tuple[dict[str, torch.Tensor], dict[str, Any]]
"""Tensors and facts."""


class States(Protocol):
    """Where a job's states are kept."""

    def save(self, step: int, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Durable when it returns. Raises NoRoom, with those before as they were."""
        ...

    def load(self) -> Found | None:
        """The newest that can be read."""
        ...


class Checkpoints:
    """Those of one job, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, step: int, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Durable when it returns. Raises NoRoom."""
        write_state(self._directory / f"step-{step:08d}.safetensors", step, state, facts)
        for old in self._paths()[:-KEPT]:
            old.unlink(missing_ok=True)

    def load(self) -> Found | None:
        """The newest that can be read: tensors and facts."""
        found = (read_state(path) for path in reversed(self._paths()))
        return next((each for each in found if each is not None), None)

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("step-*.safetensors"))


def write_state(
    path: Path, step: int, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
) -> None:
    """A state as a file that is there as a whole or not at all. Raises NoRoom."""
    try:
        write_whole(
            path,
            lambda to: save_file(
                {name: tensor.contiguous() for name, tensor in state.items()},
                to,
                metadata={"facts": json.dumps(facts)},
            ),
        )
    except (OSError, SafetensorError) as error:
        raise NoRoom(f"the checkpoint of step {step} was not written: {error}") from error


def read_state(path: Path) -> Found | None:
    """Tensors and facts of such a file; None if it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
