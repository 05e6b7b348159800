"""Every instruction set writes and reads the same bytes."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding

import codec
from tests.codec import make_golden, tensors

pytestmark = pytest.mark.long

PROGRAM = """
import sys
from tests.codec.machine.test_instructions import frames_digest
from codec.machine.instructions import instruction_set
print(instruction_set(), frames_digest())
"""


def lone_tensor(dtype: str) -> bytes:
    """Words of two blocks, of which the last is short, and bytes left over."""
    if dtype not in tensors.FLOATS:
        values = np.random.default_rng(0).standard_normal(1_300_001) * 20
        return values.astype(np.int8).tobytes()
    words = tensors.pair(dtype, 1_300_001 // {"F32": 4, "F64": 8}.get(dtype, 2))[0]
    words[9000 : 9000 + 14] = tensors.awkward(dtype)
    return words.tobytes() + b"\1"


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
    for dtype in ("I8", "BF16", "F32", "F64"):
        target, base = (np.frombuffer(data, np.uint8) for data in make_golden.sparse(dtype))
        frame = codec.encode(target, dtype=dtype, base=base, codec="SPARSE")
        if codec.decode(frame, base=base).tobytes() != target.tobytes():
            raise SystemExit(f"few changes of {dtype} did not come back")
        digest.update(frame)
    for dtype, below in (("F32", "BF16"), ("F16", "F32"), ("BF16", "F16")):
        base, target = tensors.pair(below, 20_000)[0], tensors.pair(dtype, 20_000)[1]
        base[:14], target[-14:] = tensors.awkward(below), tensors.awkward(dtype)
        frame = codec.encode(target, dtype=dtype, base=base, base_dtype=below, codec="CTX")
        if codec.decode(frame, base=base).tobytes() != target.tobytes():
            raise SystemExit(f"{dtype} over {below} did not come back")
        digest.update(frame)
    for case in make_golden.MOVED:
        target, base, words, factors = make_golden.moved(case)
        options = {"base_dtype": words.base.name, "factors": factors, "codec": "CTX"}
        frame = codec.encode(target, dtype=words.content.name, base=base, **options)
        if codec.decode(frame, base=base).tobytes() != target:
            raise SystemExit(f"{case} over a base that moves did not come back")
        digest.update(frame)
    return digest.hexdigest()


HASWELL = "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt"


HERE = binding.get_host_cpu_features().flatten()
KINDS = [("x86-64", "+sse2", "portable"), ("haswell", HASWELL, "avx2")]
if "+avx512vbmi2" in HERE:  # with quick gathers, and without
    KINDS += [("icelake-server", HERE, "avx512"), ("znver4", HERE, "avx512")]


@pytest.mark.parametrize(("cpu", "features", "expected"), KINDS)
def test_other_instruction_sets_write_and_read_the_same_bytes(cpu, features, expected):
    from codec.machine.instructions import instruction_set

    if instruction_set() == "portable":
        pytest.skip("this processor has no vectors that the kernels know")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [expected, frames_digest()]
