"""Adapters as the files that PEFT reads and writes."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from training.lora.adapter import Adapter
from training.lora.options import ALL_LINEAR

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def save_adapter(adapter: Adapter, directory: Path, base: str, revision: str | None) -> None:
    """Both files. ``base``: what ``from_pretrained`` finds the base by; ``revision`` its commit.

    Weights are float32, as they were trained.
    """
    directory.mkdir(parents=True, exist_ok=True)
    options = adapter.options
    targets = (
        sorted({path.rpartition(".")[2] for path in adapter.pairs})
        if options.target_modules == ALL_LINEAR
        else list(options.target_modules)
    )
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": options.r,
        "lora_alpha": options.lora_alpha,
        "lora_dropout": options.dropout,
        "use_rslora": options.rslora,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (directory / CONFIG).write_text(text, encoding="utf-8")
    tensors = {
        name: parameter.detach().to("cpu", torch.float32).contiguous()
        for name, parameter in adapter.tensors()
    }
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})


def load_adapter(adapter: Adapter, directory: Path) -> None:
    """Take over saved weights. Raises ValueError for weights of another adapter."""
    adapter.load(load_file(directory / WEIGHTS))
