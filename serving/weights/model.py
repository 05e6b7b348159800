"""A model and what goes with it (tokenizer, ends, defaults), from small files and big tensors."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights

from serving.engine.attention import UnservableModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Around:
    """What surrounds the weights. ``ends``: end-of-sequence tokens. ``defaults``: of sampling."""

    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase | None
    ends: tuple[int, ...]
    defaults: Mapping[str, Any]


def read_around(directory: Path) -> Around:
    """From a directory of small files. Raises UnservableModel; runs no code of the repository."""
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UnservableModel(
            f"its configuration is not one transformers knows: {error}"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        log.warning("no tokenizer, prompts are token ids: %s", error)
        tokenizer = None
    try:
        generation = GenerationConfig.from_pretrained(directory)
    except OSError:
        generation = GenerationConfig.from_model_config(config)
    ends = _as_tuple(generation.eos_token_id) or _as_tuple(config.get_text_config().eos_token_id)
    if tokenizer is not None and tokenizer.eos_token_id is not None:
        ends = tuple({*ends, tokenizer.eos_token_id})
    named = ("temperature", "top_p", "top_k") if generation.do_sample else ()
    defaults = {name: getattr(generation, name, None) for name in named}
    return Around(config, tokenizer, ends, defaults)


def build(config: PreTrainedConfig, dtype: torch.dtype | None, device: str) -> PreTrainedModel:
    """A model whose weights are still to come; its memory is taken. Raises UnservableModel."""
    dtype = dtype or getattr(config, "dtype", None) or torch.float32
    try:
        with torch.device(device), no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    except ValueError as error:
        raise UnservableModel(f"transformers builds no language model of it: {error}") from error
    return model.eval().requires_grad_(requires_grad=False)


def _as_tuple(ids: int | list[int] | None) -> tuple[int, ...]:
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else tuple(ids)
