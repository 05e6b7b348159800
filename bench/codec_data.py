"""What the codec is measured on: real pairs of weights, and synthetic tensors of any length."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import corpus, small_lm
from bench.codec_sides import Tensor
from bench.peers import base_tensors, read_tensors
from bench.synthetic import DRIFT, SIGMA, from_bf16, to_bf16

WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}
FEW_CHANGED = 0.01
ROWS_AT_ONCE, ROW = 4096, 4096
_SPARSE_SHARES = (0.01, 0.001)


@dataclass(frozen=True)
class Pair:
    """A tensor and its base, as bytes."""

    dtype: str
    target: np.ndarray
    base: np.ndarray
    shape: tuple[int, ...] = ()

    @property
    def columns(self) -> int:
        """Of a matrix, as the codec is told; 0 for a vector."""
        return self.shape[-1] if len(self.shape) > 1 else 0

    def words(self) -> tuple[np.ndarray, np.ndarray]:
        kind = f"u{WIDTHS[self.dtype]}"
        return self.target.view(kind), self.base.view(kind)


@dataclass(frozen=True)
class PairSet:
    """The tensors of a model that changed, beside their bases."""

    name: str
    pairs: list[Pair]

    @property
    def dtype(self) -> str:
        return self.pairs[0].dtype

    @property
    def raw_nbytes(self) -> int:
        return sum(pair.target.nbytes for pair in self.pairs)

    @functools.cached_property
    def changed_share(self) -> float:
        """Share of elements that differ from the base."""
        differing = total = 0
        for pair in self.pairs:
            target, base = pair.words()
            differing += int(np.count_nonzero(target != base))
            total += target.size
        return differing / total

    @property
    def is_sparse(self) -> bool:
        return self.changed_share <= FEW_CHANGED

    def cut(self, nbytes: int) -> "PairSet":
        """The first tensors, up to about so many bytes, at least one."""
        kept, taken = [], 0
        for pair in self.pairs:
            if kept and taken + pair.target.nbytes > nbytes:
                continue
            kept.append(pair)
            taken += pair.target.nbytes
        return PairSet(self.name, kept)


def real_pairs() -> list[PairSet]:
    """Every fine-tune of the demo corpus and of the small language model; trained at first use."""
    return [*_corpus_pairs(), *_language_pairs(), *_few_changed()]


def _corpus_pairs() -> Iterator[PairSet]:
    made = corpus.ensure()
    for repo in made.repos:
        pairs = [
            pair
            for path in made.weights(repo)
            for pair in _changed(read_tensors(path), base_tensors(made, path))
        ]
        if pairs:
            yield PairSet(repo.name, pairs)


def _language_pairs() -> Iterator[PairSet]:
    directory = small_lm.ensure()
    for sibling in small_lm.Plan().siblings:
        for dtype in sibling.dtypes:
            base = read_tensors(small_lm.weights(directory, small_lm.BASE, dtype))
            target = read_tensors(small_lm.weights(directory, sibling.name, dtype))
            yield PairSet(f"lm-{sibling.name}", list(_changed(target, base)))


def _few_changed() -> Iterator[PairSet]:
    """Real weights of which some took one step, the smaller the likelier, as in policy training."""
    weights = base_weights("BF16").view("u2")
    chance = np.random.default_rng(11)
    magnitudes = np.abs(from_bf16(weights))
    for share in _SPARSE_SHARES:
        odds = 1 / (magnitudes + np.float32(1e-4))
        changed = chance.random(weights.size) < odds * (share / odds.mean())
        step = np.where(chance.random(weights.size) < 0.5, 1, -1).astype("i2")
        target = np.where(changed, weights + step.view("u2"), weights)
        name = f"minilm, {share:.1%} changed"
        yield PairSet(name, [Pair("BF16", target.view("u1"), weights.view("u1"))])


def _changed(tensors: dict, bases: dict) -> Iterator[Pair]:
    for name, tensor in tensors.items():
        base = bases.get(name)
        alike = base is not None and (base.dtype, base.shape) == (tensor.dtype, tensor.shape)
        if alike and not np.array_equal(tensor.raw, base.raw):
            yield Pair(tensor.dtype, tensor.raw, base.raw, tensor.shape)


@functools.cache
def base_weights(dtype: str) -> np.ndarray:
    """The published MiniLM weights as one run of bytes."""
    made = corpus.ensure()
    name = {"BF16": "minilm", "F32": "minilm-fp32"}[dtype]
    [repo] = [repo for repo in made.repos if repo.name == name]
    return joined(
        tensor.raw for path in made.weights(repo) for tensor in read_tensors(path).values()
    )


def joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Bytes of several tensors, one after the other."""
    return np.concatenate(list(parts))


def kept(directory: Path, title: str, dtype: str, target: np.ndarray, base=None) -> Tensor:
    """A tensor and its base as files that several processes can map."""
    paths = []
    for role, content in (("target", target), ("base", base)):
        if content is None:
            continue
        path = directory / f"{title.replace(' ', '-')}.{role}"
        content.tofile(path)
        paths.append(path)
    return Tensor(title, dtype, *paths)


def synthetic_pair(directory: Path, nbytes: int, drift: float = DRIFT) -> Tensor:
    """Gaussian BF16 weights with a scale of their own per row, and a Gaussian step from them."""
    chance = np.random.Generator(np.random.SFC64(0))
    directory.mkdir(exist_ok=True)
    paths = [directory / f"synthetic.{role}" for role in ("target", "base")]
    rows = max(1, nbytes // 2 // ROW)
    with paths[0].open("wb") as target_file, paths[1].open("wb") as base_file:
        for first in range(0, rows, ROWS_AT_ONCE):
            shape = (min(ROWS_AT_ONCE, rows - first), ROW)
            scale = SIGMA * np.exp(0.25 * chance.standard_normal((shape[0], 1), np.float32))
            base = to_bf16(chance.standard_normal(shape, np.float32) * scale.astype(np.float32))
            step = chance.standard_normal(shape, np.float32) * np.float32(drift)
            base_file.write(base.tobytes())
            target_file.write(to_bf16(from_bf16(base) + step).tobytes())
    return Tensor(f"synthetic, {nbytes >> 20} MiB", "BF16", *paths)
