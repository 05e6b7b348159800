"""Results as directories that PEFT and ``from_pretrained`` read."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from training.jobs.card import card_of
from training.jobs.checkpoint import NoRoom
from training.jobs.origin import SMALL, Origin
from training.jobs.picture import draw
from training.jobs.track import Track
from training.lora.adapter import Adapter
from training.lora.peft_files import save_adapter

SHARD = "5GB"


def export_adapter(track: Track, adapter: Adapter, origin: Origin, directory: Path) -> None:
    """An adapter in PEFT's form, with card and curve."""
    facts = {"trainable parameters": f"{adapter.num_parameters:,}"}
    card = card_of(track, origin, "adapter", facts)

    def fill(into: Path) -> None:
        save_adapter(adapter, into, origin.name, origin.commit)

    _write(directory, track, card, fill)


def export_merged(
    track: Track, adapter: Adapter, origin: Origin, model: PreTrainedModel, directory: Path
) -> None:
    """A base, fresh from disk, with the adapter merged in; tensors without one stay bit for bit."""
    merge(model, adapter)
    card = card_of(track, origin, "merged", {"adapters merged": "in float32, rounded once"})
    _write(directory, track, card, lambda into: _save_model(model, origin, into))


def export_model(
    track: Track, origin: Origin, model: PreTrainedModel, extra: dict[str, Any], directory: Path
) -> None:
    """A model that was trained as a whole."""
    card = card_of(track, origin, "full", extra)
    _write(directory, track, card, lambda into: _save_model(model, origin, into))


@torch.no_grad()
def merge(model: PreTrainedModel, adapter: Adapter) -> None:
    """``W + scale · B·A``, computed in the adapter's precision and rounded to the base's."""
    for path, pair in adapter.pairs.items():
        weight = model.get_submodule(path).get_parameter("weight")
        added = adapter.options.scale * (pair.up @ pair.down)
        weight.copy_((weight.to(added.dtype) + added).to(weight.dtype))


def _save_model(model: PreTrainedModel, origin: Origin, into: Path) -> None:
    """Weights, and beside them what the base has beside its own."""
    for pattern in SMALL:
        for path in origin.directory.glob(pattern):
            if not path.name.endswith(".safetensors.index.json"):
                shutil.copyfile(path, into / path.name)
    model.save_pretrained(into, max_shard_size=SHARD)


def _write(directory: Path, track: Track, card: str, fill: Callable[[Path], None]) -> None:
    """Fill a directory that gets its name when all is in it; one that was there is replaced.

    Raises NoRoom.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    into = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".new-"))
    try:
        into.chmod(0o755)
        fill(into)
        (into / "README.md").write_text(card, encoding="utf-8")
        rows = [*track.curve.steps, *track.curve.evaluations]
        (into / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        draw(track.curve, track.spec.name, into / "curve.png")
        shutil.rmtree(directory, ignore_errors=True)
        into.replace(directory)
    except (OSError, SafetensorError) as error:
        raise NoRoom(f"{directory} was not written: {error}; checkpoints are whole") from error
    finally:
        shutil.rmtree(into, ignore_errors=True)
