"""Synthetic models: the promised bytes, the same each time, a fine-tune close to its base."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open

from bench.synthetic import DRIFT, PooledModel, SyntheticModel, from_bf16, synthetic, to_bf16

NBYTES = 1 << 20


@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_rounding_to_bf16_is_torchs(values: np.ndarray) -> None:
    expected = torch.from_numpy(values.copy()).bfloat16().float().numpy()

    assert np.array_equal(from_bf16(to_bf16(values)), expected)


def test_stream_is_as_long_as_promised_and_repeatable() -> None:
    for model in (SyntheticModel(NBYTES), PooledModel(NBYTES)):
        content = b"".join(model.stream())

        assert len(content) == model.file_nbytes()
        assert content == b"".join(model.stream())


def test_fine_tune_differs_in_about_two_bits_of_each_element(tmp_path: Path) -> None:
    base = synthetic(NBYTES, tmp_path / "base")
    tuned = synthetic(NBYTES, tmp_path / "tuned", finetune=1, base="acme/base")
    name = "model.layers.0.mlp.up_proj.weight"
    with safe_open(base, "pt") as one, safe_open(tuned, "pt") as other:
        assert list(one.keys()) == list(other.keys())
        left, right = (f.get_tensor(name).view(torch.int16).numpy() for f in (one, other))
    distance = np.bitwise_count((left ^ right).view(np.uint16)).mean()

    assert 1.5 < distance < 2.0
    assert "base_model: acme/base" in (tmp_path / "tuned" / "README.md").read_text()
    assert SyntheticModel(NBYTES, drift=DRIFT).file_nbytes() == tuned.stat().st_size


def test_complete_file_is_not_written_again(tmp_path: Path) -> None:
    path = synthetic(NBYTES, tmp_path)
    before = path.stat().st_mtime_ns

    assert synthetic(NBYTES, tmp_path).stat().st_mtime_ns == before
