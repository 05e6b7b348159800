"""A checkpoint is there as a whole or not at all."""

from pathlib import Path

import pytest
import torch

from training.jobs import checkpoint
from training.jobs.checkpoint import Checkpoints, NoRoom


def state(step: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((50,), float(step))}


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "new")
    assert kept.load() is None
    for step in (1, 20, 300):
        kept.save(step, state(step), {"step": step})
    tensors, facts = kept.load()
    assert facts == {"step": 300}
    assert torch.equal(tensors["weight"], state(300)["weight"])
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:30], lambda _: b""])
def test_one_that_cannot_be_read_is_passed_over(tmp_path: Path, damage) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, state(1), {"step": 1})
    kept.save(2, state(2), {"step": 2})
    newest = max(tmp_path.iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    assert kept.load()[1] == {"step": 1}


def test_a_full_disk_leaves_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, state(1), {"step": 1})

    def full(tensors, path, metadata) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(NoRoom, match=r"step 2 was not written: .*No space left"):
        kept.save(2, state(2), {"step": 2})
    assert kept.load()[1] == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1
