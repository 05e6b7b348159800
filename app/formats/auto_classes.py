"""How transformers loads a model, as far as its small configuration files say."""

import json
from collections.abc import Sequence
from typing import Any

_TASKS = {
    "ForCausalLM": ("AutoModelForCausalLM", "text-generation"),
    "LMHeadModel": ("AutoModelForCausalLM", "text-generation"),
    "ForConditionalGeneration": ("AutoModelForSeq2SeqLM", "text2text-generation"),
    "ForMaskedLM": ("AutoModelForMaskedLM", "fill-mask"),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "text-classification"),
    "ForTokenClassification": ("AutoModelForTokenClassification", "token-classification"),
    "ForQuestionAnswering": ("AutoModelForQuestionAnswering", "question-answering"),
    "ForImageClassification": ("AutoModelForImageClassification", "image-classification"),
    "ForCTC": ("AutoModelForCTC", "automatic-speech-recognition"),
    "ForSpeechSeq2Seq": ("AutoModelForSpeechSeq2Seq", "automatic-speech-recognition"),
}
"""End of an architecture's name -> auto class and task."""

_VISION = {"ImageClassification"}


def transformers_info(
    architectures: Sequence[str], pipeline_tag: str | None
) -> dict[str, Any] | None:
    """Auto class, task and processor for the first architecture; None without any."""
    if not architectures:
        return None
    auto_model, task = next(
        (found for ending, found in _TASKS.items() if architectures[0].endswith(ending)),
        ("AutoModel", None),
    )
    looks = any(word in auto_model for word in _VISION)
    return {
        "auto_model": auto_model,
        "pipeline_tag": pipeline_tag or task,
        "processor": "AutoImageProcessor" if looks else "AutoTokenizer",
    }


def load_mask_token(tokenizer_config: bytes) -> str | None:
    """``mask_token`` of a ``tokenizer_config.json``; None if it has none, or is no sound file."""
    try:
        parsed = json.loads(tokenizer_config.decode())
    except (ValueError, RecursionError):
        return None
    token = parsed.get("mask_token") if isinstance(parsed, dict) else None
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
