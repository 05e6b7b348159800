"""A trainer that somebody keeps ends by itself as any process does."""

import subprocess
import sys

from training.service.supervisor import COMMAND


def test_a_kept_trainer_ends_with_its_own_status_while_its_keeper_is_there() -> None:
    command = [sys.executable, "-c", COMMAND, "--dtype=float8", "--kept"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("hf_token\n")
        process.stdin.flush()
        told = process.stderr.read()
        assert (process.wait(60), told) == (
            1,
            "clade: --dtype is auto, float32, bfloat16 or float16, not float8\n",
        )
