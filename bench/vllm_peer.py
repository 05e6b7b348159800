"""vLLM on a CPU as a contender: a process in an environment of its own, asked batch by batch."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from bench.vllm_worker import MARK

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
KV_GB = 1


class NoVllm(Exception):
    """It is not installed, or it ended; says what to do."""


class VllmPeer:
    """``options``: of vLLM's ``LLM``."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def ask(self, prompts: Sequence[Sequence[int]], length: int) -> tuple[float, float, list]:
        """CPU seconds of its process, wall seconds, and greedy answers of ``length`` tokens."""
        told = self.exchange({"prompts": [list(prompt) for prompt in prompts], "length": length})
        return told["cpu_s"], told["wall_s"], told["answers"]

    def exchange(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A line in, a line out. Raises NoVllm if it ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended: what it said last is in its log
            print(json.dumps(asked), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise NoVllm(f"vLLM ended:\n{self._log.read_text(encoding='utf-8')[-3000:]}")


@contextmanager
def vllm_peer(model: PreTrainedModel, threads: int, **options: Any) -> Iterator[VllmPeer]:
    """vLLM with this model, ready to be asked. Raises NoVllm."""
    if not PYTHON.exists():
        raise NoVllm("there is no vLLM; `make .venv-vllm/.ready` installs it")
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        model.save_pretrained(home / "model")
        log = home / "log"
        with log.open("w") as told:
            process = subprocess.Popen(
                [str(PYTHON), "-m", "bench.vllm_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
                cwd=ROOT,
                env={**os.environ, **_environment(home, threads)},
            )
        try:
            peer = VllmPeer(process, log)
            peer.exchange(
                {"model": str(home / "model"), "skip_tokenizer_init": True, "dtype": "float32"}
                | options
            )
            yield peer
        finally:
            process.terminate()
            process.communicate()


def _environment(home: Path, threads: int) -> dict[str, str]:
    return {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{PYTHON.parent}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(KV_GB),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": str(threads),
    }
