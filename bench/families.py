"""Synthetic families of small models: how their members derive from one another, as file bytes."""

import json
from collections.abc import Mapping

import numpy as np

from bench.synthetic import from_bf16, to_bf16

Weights = dict[str, np.ndarray]
"""Tensors as float32."""

SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (1100, 64),
    "model.layers.0.mlp.up_proj.weight": (256, 64),
    "model.layers.0.mlp.down_proj.weight": (64, 256),
    "model.norm.weight": (64,),
}
SIGMA = 0.02


def fresh(seed: int) -> Weights:
    """A model as if pre-trained, in BF16's precision."""
    rng = np.random.default_rng(seed)
    return _rounded({name: rng.normal(0, SIGMA, shape) for name, shape in SHAPES.items()})


def tuned(weights: Weights, seed: int, sigma: float) -> Weights:
    """Every element moved by gaussian noise of ``sigma``."""
    rng = np.random.default_rng(seed)
    return _rounded(
        {name: each + rng.normal(0, sigma, each.shape) for name, each in weights.items()}
    )


def grown(weights: Weights, seed: int, rows: int) -> Weights:
    """The same with more tokens in its embedding."""
    rng = np.random.default_rng(seed)
    name = "model.embed_tokens.weight"
    more = rng.normal(0, SIGMA, (rows, weights[name].shape[1]))
    return _rounded(weights | {name: np.concatenate([weights[name], more])})


def star() -> dict[str, bytes]:
    """A base and fine-tunes of it, of different strength."""
    base = fresh(1)
    sigmas = {"t1": 1e-4, "t2": 3e-4, "t3": 3e-4, "t4": 6e-4}
    tunes = {name: tuned(base, n, sigma) for n, (name, sigma) in enumerate(sigmas.items(), 2)}
    return _files({"base": base, **tunes})


def chain() -> dict[str, bytes]:
    """Each model goes on from the one before."""
    models = {"m0": fresh(11)}
    for n in range(1, 5):
        models[f"m{n}"] = tuned(models[f"m{n - 1}"], 11 + n, 3e-4)
    return _files(models)


def twins() -> dict[str, bytes]:
    """Two bases of one shape that have nothing in common, and their fine-tunes."""
    one, other = fresh(21), fresh(22)
    return _files(
        {
            "one": one,
            "other": other,
            "one-t1": tuned(one, 23, 2e-4),
            "one-t2": tuned(one, 24, 4e-4),
            "other-t1": tuned(other, 25, 2e-4),
            "other-t2": tuned(other, 26, 4e-4),
        }
    )


def vocabulary() -> dict[str, bytes]:
    """A base, a fine-tune, and two to which tokens were added."""
    base = fresh(31)
    more = grown(base, 32, 40)
    return _files(
        {
            "base": base,
            "tune": tuned(base, 33, 3e-4),
            "more": more,
            "more-tune": tuned(more, 34, 3e-4),
        }
    )


def precisions() -> dict[str, bytes]:
    """A model in FP32, the same in BF16, and a fine-tune of each."""
    rng = np.random.default_rng(41)
    full = {name: rng.normal(0, SIGMA, shape).astype("f4") for name, shape in SHAPES.items()}
    half = _rounded(full)
    moved = {
        name: (each + rng.normal(0, 3e-4, each.shape)).astype("f4") for name, each in full.items()
    }
    return {
        "full": weight_file(full, "F32"),
        "full-tune": weight_file(moved, "F32"),
        "half": weight_file(half),
        "half-tune": weight_file(tuned(half, 42, 3e-4)),
    }


FAMILIES = {each.__name__: each for each in (star, chain, twins, vocabulary, precisions)}


def weight_file(weights: Mapping[str, np.ndarray], dtype: str = "BF16") -> bytes:
    """A safetensors file."""
    header: dict[str, object] = {}
    parts: list[bytes] = []
    at = 0
    for name, each in weights.items():
        data = (to_bf16(each.astype("f4")) if dtype == "BF16" else each.astype("<f4")).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(each.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(parts)


def _rounded(weights: Mapping[str, np.ndarray]) -> Weights:
    return {name: from_bf16(to_bf16(each.astype("f4"))) for name, each in weights.items()}


def _files(models: Mapping[str, Weights]) -> dict[str, bytes]:
    return {name: weight_file(weights) for name, weights in models.items()}
