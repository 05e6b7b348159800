"""The README of a result: where it comes from, what it was trained on and how, and its curve."""

import json
from importlib.metadata import version
from typing import Any

import yaml

from training.jobs.origin import Origin
from training.jobs.track import Track


def card_of(track: Track, origin: Origin, form: str, extra: dict[str, Any]) -> str:
    """Markdown with the metadata that hubs read. ``form``: adapter, merged or full.

    ``extra``: more facts for the table of how it was trained.
    """
    spec, facts = track.spec, track.data.facts
    metadata: dict[str, Any] = {
        "base_model": origin.name,
        "base_model_relation": "adapter" if form == "adapter" else "finetune",
        "library_name": "peft" if form == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["clade", "lora" if form != "full" else spec.optimizer.kind],
    }
    if origin.commit is None:
        del metadata["base_model"], metadata["base_model_relation"]
    told = {
        "base": origin.root,
        "data": f"{facts.name}, sha256 {facts.sha256}",
        "examples": f"{facts.examples:,} ({facts.form}), {facts.targets:,} of {facts.tokens:,} "
        f"tokens learnt, {facts.truncated:,} cut at {facts.max_tokens:,} tokens",
        "chat template": "ChatML, the base has none" if facts.default_template else "the base's",
        "steps": f"{track.num_steps:,} of {track.total_steps:,}"
        + (f", stopped early: {track.stopped.value}" if track.stopped else ""),
        "training loss at the end": _number(track.curve.last_loss),
        "validation loss at the end": _number(track.curve.last_valid_loss),
        **extra,
        "trained with": f"clade {version('clade')}, torch {version('torch')}, "
        f"transformers {version('transformers')}",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in told.items() if value)
    settings = spec.model_dump(
        mode="json",
        include={"adapter", "optimizer", "batch_size", "epochs", "max_seq_len", "seed"}
        - ({"adapter"} if form == "full" else set()),
    )
    return (
        f"---\n{yaml.safe_dump(metadata, sort_keys=True)}---\n# {spec.name}\n\n"
        f"| | |\n|---|---|\n{rows}\n\n![Curve](curve.png)\n\n"
        f"## Settings\n\n```json\n{json.dumps(settings, indent=2)}\n```\n"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
