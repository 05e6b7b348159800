"""Every instruction set writes and reads the same bytes."""

import hashlib
import os
import subprocess
import sys

import pytest

import codec
from tests.codec import tensors

PROGRAM = """
import sys
from tests.codec.test_instructions import frames_digest
from codec.instructions import instruction_set
print(instruction_set(), frames_digest())
"""


def frames_digest() -> str:
    """A digest of frames of every kind of group, each decoded to the bytes it was made from."""
    digest = hashlib.sha256()
    for dtype in ("BF16", "F16", "F32"):
        for drift in (1e-5, 1e-3, 1.0):
            base, target = tensors.pair(dtype, 20_000, drift=drift)
            target[:3000] = base[:3000]
            target[9000 : 9000 + 14] = tensors.awkward(dtype)
            frame = codec.encode(target[:-37], dtype=dtype, base=base[:-37], codec="CTX")
            if codec.decode(frame, base=base[:-37]).tobytes() != target[:-37].tobytes():
                raise SystemExit(f"{dtype} with {drift} did not come back")
            digest.update(frame)
    return digest.hexdigest()


@pytest.mark.parametrize(("cpu", "expected"), [("x86-64", "portable"), ("haswell", "avx2")])
def test_other_instruction_sets_write_and_read_the_same_bytes(cpu, expected):
    from codec.instructions import instruction_set

    if instruction_set() == "portable":
        pytest.skip("this processor has no vectors that the kernels know")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NUMBA_CPU_NAME": cpu},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [expected, frames_digest()]
