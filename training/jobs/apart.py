"""A process beside training, which loads models from disk, merges adapters into them, asks them.

Loading a model changes defaults of torch for the whole process while it lasts, such as the type of
new tensors; and all of it takes long. So it is not done where others train.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from training.jobs.asking import PROBES, asking
from training.jobs.merging import merge
from training.jobs.origin import SHARD, BadBase, Origin

COMMAND = "from training.jobs.apart import main; main()"


class Apart:
    """Starts with the first thing that is asked for; ends when closed, or with this process."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._process: subprocess.Popen[str] | None = None

    def merge(self, base: Path, weights: Path, scale: float, into: Path) -> None:
        """Write a base with the pairs of an adapter merged in. Raises OSError."""
        self._ask(do="merge", base=str(base), weights=str(weights), scale=scale, into=str(into))

    def answers(self, directory: Path) -> Sequence[str]:
        """Digests of what a model says to every probe. OSError."""
        return self._ask(do="answers", directory=str(directory))

    def close(self) -> None:
        """End the process. Another one starts with whatever is asked for next."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()

    def _ask(self, **request: Any) -> Any:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        threads = torch.get_num_threads()
        line = json.dumps(request | {"dtype": self._dtype, "threads": threads})
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            raise OSError(f"the process that merges ended with status {process.returncode}")
        told = json.loads(answer)
        if told["error"] is not None:
            raise OSError(told["error"])
        return told["result"]


def main() -> None:
    """The process: a request a line, answered by a line."""
    disable_progress_bar()
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        told: dict[str, Any] = {"result": None, "error": None}
        try:
            told["result"] = _do(json.loads(line))
        except (BadBase, OSError, SafetensorError, RuntimeError, ValueError) as error:
            told["error"] = str(error) or type(error).__name__
        answers.write(json.dumps(told) + "\n")
        answers.flush()


def _do(request: Mapping[str, Any]) -> Any:
    torch.set_num_threads(request["threads"])
    if request["do"] == "answers":
        ask = asking(_model(request["directory"], request["dtype"]).eval())
        said = [ask(torch.tensor([probe])) for probe in PROBES]
        return [sha256(each.view(torch.uint8).numpy().tobytes()).hexdigest() for each in said]
    model = _model(request["base"], request["dtype"])
    merge(model, load_file(request["weights"]), request["scale"])
    model.save_pretrained(request["into"], max_shard_size=SHARD)
    return None


def _model(directory: str, dtype: str) -> PreTrainedModel:
    return Origin(directory, Path(directory), None).model(dtype, "cpu")
