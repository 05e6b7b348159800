"""Synthetic bf16 models of any size, written as a stream: a base, and a fine-tune of it.

Weights are gaussian (sigma 0.02) with a log-normal scale per row; a fine-tune adds gaussian noise
of sigma 1.2e-4, which flips about 1.8 of 16 bits per element, as a real full fine-tune does. The
layout is that of a Llama: embedding, then per block four attention and three MLP matrices and two
norms. Same arguments, same bytes.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIGMA = 0.02
DRIFT = 1.2e-4
VOCABULARY = 32_000
ROWS_AT_ONCE = 512
_HIDDEN = ((256 << 20, 512), (4 << 30, 2048))  # models below so many bytes get this width


@dataclass(frozen=True)
class SyntheticModel:
    """A model of about ``nbytes`` bytes. ``drift`` 0 is the base itself."""

    nbytes: int
    seed: int = 0
    drift: float = 0.0
    drift_seed: int = 0

    @property
    def hidden(self) -> int:
        return next((width for limit, width in _HIDDEN if self.nbytes < limit), 4096)

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes in file order."""
        hidden, inner = self.hidden, self.hidden * 11 // 4
        shapes = {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (hidden, hidden),
            "self_attn.v_proj": (hidden, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        block_nbytes = 2 * sum(int(np.prod(shape)) for shape in shapes.values())
        blocks = max(1, round((self.nbytes - 2 * VOCABULARY * hidden) / block_nbytes))
        yield "model.embed_tokens.weight", (VOCABULARY, hidden)
        for block in range(blocks):
            for name, shape in shapes.items():
                yield f"model.layers.{block}.{name}.weight", shape
        yield "model.norm.weight", (hidden,)

    def header(self) -> bytes:
        """The safetensors header with its 8-byte length, padded to 8 bytes as the library does."""
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        position = 0
        for name, shape in self.tensors():
            end = position + 2 * int(np.prod(shape))
            entries[name] = {
                "dtype": "BF16",
                "shape": list(shape),
                "data_offsets": [position, end],
            }
            position = end
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def stream(self) -> Iterator[bytes]:
        """The bytes of the file, a few MB at a time."""
        yield self.header()
        for number, (_, shape) in enumerate(self.tensors()):
            yield from self._tensor(number, shape)

    def file_nbytes(self) -> int:
        """The exact length of the file."""
        return len(self.header()) + sum(2 * int(np.prod(shape)) for _, shape in self.tensors())

    def _tensor(self, number: int, shape: tuple[int, ...]) -> Iterator[bytes]:
        base = _generator(self.seed, number)
        noise = _generator(self.drift_seed + 1_000_003, number)
        rows, width = (1, shape[0]) if len(shape) == 1 else shape
        for first in range(0, rows, ROWS_AT_ONCE):
            block = (min(ROWS_AT_ONCE, rows - first), width)
            scale = np.exp(0.25 * base.standard_normal((block[0], 1), dtype=np.float32)) * SIGMA
            weights = base.standard_normal(block, dtype=np.float32)
            weights *= scale
            if len(shape) == 1:
                weights += 1.0
            rounded = to_bf16(weights)
            if self.drift:
                delta = noise.standard_normal(block, dtype=np.float32)
                delta *= self.drift
                delta += from_bf16(rounded)
                rounded = to_bf16(delta)
            yield rounded.tobytes()


class PooledModel(SyntheticModel):
    """The same layout at disk speed: tensors are windows of one random pool, each a new one.

    Every tensor has its own digest, but equal stretches repeat far apart, so this serves memory
    and latency benches only, never a size. A fine-tune has the windows of a pool that drifted.
    """

    POOL_NBYTES = 128 << 20

    def stream(self) -> Iterator[bytes]:
        yield self.header()
        weights = np.empty(self.POOL_NBYTES // 2, np.uint16)
        chance, noise = _generator(self.seed, 0), _generator(self.drift_seed + 1_000_003, 0)
        for first in range(0, weights.size, 1 << 20):
            values = chance.standard_normal(1 << 20, dtype=np.float32) * np.float32(SIGMA)
            words = to_bf16(values)
            if self.drift:
                step = noise.standard_normal(1 << 20, dtype=np.float32) * np.float32(self.drift)
                words = to_bf16(from_bf16(words) + step)
            weights[first : first + (1 << 20)] = words
        pool = weights.data.cast("B")
        for number, (_, shape) in enumerate(self.tensors()):
            left = 2 * int(np.prod(shape))
            position = number * 2_000_006 % (self.POOL_NBYTES // 2) & ~1
            while left:
                piece = pool[position : position + min(left, 4 << 20)]
                yield bytes(piece)
                left -= len(piece)
                position = (position + len(piece)) % self.POOL_NBYTES


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64([seed, number]))


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bf16, ties to even, as 16-bit words."""
    bits = values.view(np.uint32)
    carry = (bits >> 16) & 1
    carry += 0x7FFF
    carry += bits
    carry >>= 16
    return carry.astype(np.uint16)


def from_bf16(words: np.ndarray) -> np.ndarray:
    """Widen bf16 words to float32."""
    return (words.astype(np.uint32) << 16).view(np.float32)


def synthetic(
    nbytes: int, folder: Path, *, finetune: int | None = None, base: str | None = None
) -> Path:
    """Write a synthetic repository of about ``nbytes`` into ``folder`` and return its weights.

    ``finetune`` numbers a fine-tune of the base of that size; ``base`` is the repository its card
    names. A folder that is already complete is left as it is.
    """
    drift = 0.0 if finetune is None else DRIFT
    model = SyntheticModel(nbytes, drift=drift, drift_seed=finetune or 0)
    path = folder / "model.safetensors"
    if path.exists() and path.stat().st_size == model.file_nbytes():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        for piece in model.stream():
            stream.write(piece)
    partial.rename(path)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": model.hidden,
        "vocab_size": VOCABULARY,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    front = f"base_model: {base}\n" if base else ""
    (folder / "README.md").write_text(
        f"---\n{front}license: apache-2.0\n---\nSynthetic weights.\n", encoding="utf-8"
    )
    return path


def cached(nbytes: int, cache: Path, *, finetune: int | None = None, base: str = "") -> Path:
    """The folder of a synthetic repository below ``cache``, written on first use."""
    tag = hashlib.sha256(f"{nbytes} {finetune} {base} 1".encode()).hexdigest()[:12]
    folder = cache / f"synthetic-{tag}"
    synthetic(nbytes, folder, finetune=finetune, base=base or None)
    return folder
