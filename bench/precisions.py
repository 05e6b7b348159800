"""Deltas across precisions on a real pair: a base and its fine-tune, each in every float type.

    python -m bench.precisions

Both are the fp32 weights of the corpus (``minilm-fp32`` and ``minilm-docs-fp32``, lr 2e-5), rounded
to what the row says; "bf16 in F32" is bf16 saved as fp32, F8 is scaled to its range per tensor.
Columns are shares of the raw bytes of the fine-tune; speed is that of one thread in CPU time.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import codec
from bench.corpus import Corpus, ensure
from bench.peers import read_tensors
from bench.report import interleaved, median, print_table

Weights = dict[str, torch.Tensor]

TYPES = {
    "F32": ("F32", lambda values: values),
    "BF16": ("BF16", lambda values: values.bfloat16()),
    "F16": ("F16", lambda values: values.half()),
    "bf16 in F32": ("F32", lambda values: values.bfloat16().float()),
    "f16 in F32": ("F32", lambda values: values.half().float()),
    "F8_E4M3": ("F8_E4M3", lambda values: values.to(torch.float8_e4m3fn)),
    "F8_E5M2": ("F8_E5M2", lambda values: values.to(torch.float8_e5m2)),
}
PAIRS = (
    *((name, name) for name in ("BF16", "F16", "F32", "F8_E4M3", "F8_E5M2")),
    *((a, b) for a in ("BF16", "F16", "F32") for b in ("BF16", "F16", "F32") if a != b),
    ("bf16 in F32", "BF16"),
    ("bf16 in F32", "F32"),
    ("f16 in F32", "F16"),
)
RANGES = {"F8_E4M3": 448.0, "F8_E5M2": 57344.0}
SMALLEST = 1 << 16
"""Elements below which a tensor says nothing about speed."""


def weights(corpus: Corpus, repo: str) -> Weights:
    """The fp32 tensors of a repository that are worth comparing."""
    found: Weights = {}
    for path in sorted((corpus.directory / repo).glob("*.safetensors")):
        for name, tensor in read_tensors(path).items():
            if tensor.dtype == "F32" and tensor.raw.size >= 4 * SMALLEST:
                found[name] = torch.from_numpy(tensor.raw.view(np.float32).copy())
    return found


def raw(values: torch.Tensor, kind: str, largest: float) -> tuple[str, np.ndarray]:
    """Dtype and bytes of values in a precision."""
    dtype, cast = TYPES[kind]
    scaled = values * (RANGES[dtype] / largest) if dtype in RANGES else values
    return dtype, cast(scaled).view(torch.uint8).numpy().copy()


def pairs(
    base: Weights, tuned: Weights, kinds: tuple[str, str]
) -> Iterator[tuple[np.ndarray, str, np.ndarray, str]]:
    """Target, dtype, base and its dtype of every tensor."""
    for name, values in tuned.items():
        largest = float(base[name].abs().max())
        dtype, target = raw(values, kinds[0], largest)
        base_dtype, below = raw(base[name], kinds[1], largest)
        yield target, dtype, below, base_dtype


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def row_of(base: Weights, tuned: Weights, kinds: tuple[str, str]) -> list[object]:
    sizes = dict.fromkeys(("raw", "alone", "BITX", "auto", "foretold"), 0)
    decoders = []
    for target, dtype, below, base_dtype in pairs(base, tuned, kinds):
        options: dict[str, Any] = {"dtype": dtype, "base": below, "base_dtype": base_dtype}
        frame = codec.encode(target, **options)
        if codec.decode(frame, base=below) != target.data:
            raise SystemExit(f"{kinds} did not come back")
        sizes["raw"] += target.nbytes
        sizes["alone"] += len(codec.encode(target, dtype=dtype))
        sizes["BITX"] += len(codec.encode(target, codec="BITX", **options))
        sizes["auto"] += len(frame)
        sizes["foretold"] += codec.predict(target, **options).nbytes
        decoders.append((frame, below, np.empty_like(target)))

    def decode() -> None:
        for frame, below, out in decoders:
            codec.decode(frame, base=below, out=out)

    spent = interleaved(5, {"decode": lambda: seconds(decode)})
    return [
        *kinds,
        *(f"{sizes[name] / sizes['raw']:.4f}" for name in ("alone", "BITX", "auto")),
        f"{sizes['auto'] / sizes['BITX']:.3f}",
        f"{sizes['foretold'] / sizes['auto']:.3f}",
        f"{sizes['raw'] / median(spent['decode']) / 1e9:.2f}",
    ]


def main() -> None:
    corpus = ensure()
    base, tuned = weights(corpus, "minilm-fp32"), weights(corpus, "minilm-docs-fp32")
    rows = [row_of(base, tuned, kinds) for kinds in PAIRS]
    for kinds in (("bf16 in F32", "BF16"), ("F32", "BF16")):
        content, *figures = row_of(base, base, kinds)
        rows.append([f"the base, {content}", *figures])
    head = ["content", "base", "alone", "BITX", "auto", "auto / BITX", "foretold", "dec GB/s"]
    print_table("Deltas across precisions", head, rows)


if __name__ == "__main__":
    main()
