"""States of a job on disk: one file each, there as a whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from training.durable import write_whole

KEPT = 2
"""The newest, and the one before in case that one cannot be read."""


class NoRoom(Exception):
    """A checkpoint could not be written; those before are as they were."""


class Checkpoints:
    """Those of one job, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, step: int, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Durable when it returns. Raises NoRoom."""
        try:
            write_whole(
                self._directory / f"step-{step:08d}.safetensors",
                lambda path: save_file(
                    {name: tensor.contiguous() for name, tensor in state.items()},
                    path,
                    metadata={"facts": json.dumps(facts)},
                ),
            )
        except (OSError, SafetensorError) as error:
            raise NoRoom(f"the checkpoint of step {step} was not written: {error}") from error
        for old in self._paths()[:-KEPT]:
            old.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The newest that can be read: tensors and facts."""
        for path in reversed(self._paths()):
            try:
                with safe_open(path, "pt") as file:
                    facts = json.loads(file.metadata()["facts"])
                    return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
            except (OSError, SafetensorError, KeyError, TypeError, ValueError):
                continue
        return None

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("step-*.safetensors"))
