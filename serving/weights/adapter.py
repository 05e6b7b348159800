"""PEFT's adapter files to an adapter of ours; what they ask for beyond plain LoRA is refused."""

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from serving.engine.lora import Adapter, BadAdapter, Pair

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_NAME = re.compile(r"(?P<path>.+)\.lora_(?P<side>[AB])(\.[^.]+)?\.weight")
_UNSERVED = (
    "use_dora",
    "use_qalora",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
)


def read_adapter(directory: Path, root: str) -> Adapter:
    """An adapter from its directory. Raises BadAdapter."""
    try:
        config: dict[str, Any] = json.loads((directory / CONFIG).read_text())
        weights = load_file(directory / WEIGHTS)
    except FileNotFoundError as error:
        missing = Path(error.filename or WEIGHTS).name
        raise BadAdapter(f"{root} is no PEFT adapter: it has no {missing}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise BadAdapter(f"{root} is no PEFT adapter: {error}") from error
    if config.get("peft_type") != "LORA":
        raise BadAdapter(f"{root} is of type {config.get('peft_type')}; LORA is served")
    for name in _UNSERVED:
        if config.get(name):
            raise BadAdapter(f"{root} uses {name}, which is not served")
    if config.get("bias", "none") != "none":
        raise BadAdapter(f"{root} trains biases, which is not served")
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in weights.items():
        found = _NAME.fullmatch(name.removeprefix(_PREFIX))
        if found is None:
            raise BadAdapter(f"{root} has a tensor {name}, which is no LoRA matrix")
        sides.setdefault(found["path"], {})[found["side"]] = tensor
    if incomplete := [path for path, pair in sides.items() if len(pair) != 2]:
        raise BadAdapter(f"{root} has half a pair for {incomplete[0]}")
    pairs = {
        path: Pair(pair["A"], pair["B"].float() * _scale(config, path, pair["A"].shape[0]))
        for path, pair in sides.items()
    }
    return Adapter(root, pairs)


def _scale(config: dict[str, Any], path: str, rank: int) -> float:
    """PEFT's: ``alpha / r``, or ``alpha / √r`` (rsLoRA)."""
    alpha = config.get("lora_alpha") or 8
    for pattern, own in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", path):
            alpha = own
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
