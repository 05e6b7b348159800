"""Results as directories that PEFT and ``from_pretrained`` read."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import PreTrainedModel

from training.jobs.apart import Apart
from training.jobs.card import card_of
from training.jobs.checkpoint import NoRoom
from training.jobs.merging import pairs_of
from training.jobs.origin import SHARD, SMALL, Origin
from training.jobs.picture import draw
from training.jobs.track import Track
from training.lora.adapter import Adapter
from training.lora.peft_files import save_adapter


def export_adapter(track: Track, adapter: Adapter, origin: Origin, directory: Path) -> None:
    """An adapter in PEFT's form, with card and curve."""
    facts = {"trainable parameters": f"{adapter.num_parameters:,}"}
    card = card_of(track, origin, "adapter", facts)

    def fill(into: Path) -> None:
        save_adapter(adapter, into, origin.name, origin.commit)

    _write(directory, track, card, fill)


def export_merged(
    track: Track, adapter: Adapter, origin: Origin, apart: Apart, directory: Path
) -> None:
    """The base, fresh from disk, with the adapter merged in; other tensors stay as they were."""
    card = card_of(track, origin, "merged", {"adapters merged": "in float32, rounded once"})

    def fill(into: Path) -> None:
        weights = into.parent / f"{into.name}.pairs"
        try:
            save_file(pairs_of(adapter), weights)
            _copy_small(origin, into)
            apart.merge(origin.directory, weights, adapter.options.scale, into)
        finally:
            weights.unlink(missing_ok=True)

    _write(directory, track, card, fill)


def export_model(
    track: Track, origin: Origin, model: PreTrainedModel, extra: dict[str, Any], directory: Path
) -> None:
    """A model that was trained as a whole."""
    card = card_of(track, origin, "full", extra)
    _write(directory, track, card, lambda into: _save_model(model, origin, into))


def _save_model(model: PreTrainedModel, origin: Origin, into: Path) -> None:
    _copy_small(origin, into)
    model.save_pretrained(into, max_shard_size=SHARD)


def _copy_small(origin: Origin, into: Path) -> None:
    """What the base has beside its weights."""
    for pattern in SMALL:
        for path in origin.directory.glob(pattern):
            if not path.name.endswith(".safetensors.index.json"):
                shutil.copyfile(path, into / path.name)


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
