"""Merged weights are those that PEFT makes; what was not adapted stays bit for bit."""

from pathlib import Path

import pytest
import torch

from tests.fixtures.adapters import merged
from tests.training.lora.problems import base, job, trainer
from training.jobs.merging import merge, pairs_of
from training.lora.peft_files import save_adapter
from training.sched.shape import Layout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["b", "c"])
def test_merged_is_what_peft_merges(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    fused = trainer(Layout.PADDED, dtype)
    fused.join(job(fused.base.model, name))
    for _ in range(4):
        fused.step()
    adapter = fused.jobs[name].adapter
    save_adapter(adapter, tmp_path, "base", None)
    ours, theirs, plain = base(dtype), merged(base(dtype), tmp_path), base(dtype)
    merge(ours, pairs_of(adapter), adapter.options.scale)
    for key, weight in ours.state_dict().items():
        if dtype == torch.float32:
            torch.testing.assert_close(weight, theirs.state_dict()[key], rtol=0, atol=1e-6)
        is_adapted = key.removesuffix(".weight") in adapter.pairs
        assert torch.equal(weight, plain.state_dict()[key]) != is_adapted
