"""Models in small, and what becomes of a model: tuned, cast, cut, merged, renamed, relabelled."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from app.formats.ggml import GGML_TYPES
from app.formats.safetensors import DTYPE_BITS
from tests.codec.tensors import awkward, floats, values

FLOATS = ("BF16", "F16", "F32", "F64")
EIGHTS = tuple(name for name in DTYPE_BITS if name.startswith("F8"))
WIDTH_OF = {name: bits // 8 for name, bits in DTYPE_BITS.items() if bits >= 8}
SUB_BYTE = tuple(name for name, bits in DTYPE_BITS.items() if bits < 8)
BLOCKS = {name: (block, nbytes) for name, block, nbytes in GGML_TYPES.values() if block > 1}
STEPS = (1e-5, 1e-4, 3e-4, 1e-3, 1e-2)
"""How far a fine-tune moves weights of .02."""

NAMES = ("q_proj", "k_proj", "o_proj", "up_proj", "down_proj", "norm", "experts.3.w1", "conv")


@dataclass(frozen=True)
class Tensor:
    """As a file has it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


Model = list[Tensor]


class Chance:
    """All draws of one run."""

    def __init__(self, seed: int) -> None:
        self.draws = random.Random(seed)
        self.noise = np.random.default_rng(seed)

    def often(self, share: float) -> bool:
        return self.draws.random() < share

    def normal(self, shape: tuple[int, ...], sigma: float) -> np.ndarray:
        return self.noise.standard_normal(shape, np.float32) * np.float32(sigma)

    def bytes(self, nbytes: int) -> bytes:
        return self.noise.bytes(nbytes)


def worth(tensor: Tensor) -> np.ndarray | None:
    """What the words of a float tensor stand for, in its shape."""
    if tensor.dtype not in FLOATS or not tensor.data:
        return None
    words = np.frombuffer(tensor.data, f"<u{WIDTH_OF[tensor.dtype]}")
    numbers = words.view("<f8") if tensor.dtype == "F64" else values(words, tensor.dtype)
    return numbers.reshape(tensor.shape)


def cast(tensor: Tensor, numbers: np.ndarray, dtype: str) -> Tensor:
    """The tensor with other numbers, in ``dtype``."""
    data = floats(numbers.reshape(-1), dtype).tobytes()
    return replace(tensor, dtype=dtype, shape=numbers.shape, data=data)


# --- new ones ---


def born(chance: Chance, nbytes: int) -> Model:
    """A model of about so many bytes, most of it in one dtype."""
    draws = chance.draws
    main = draws.choice(("BF16", "BF16", "BF16", "F32", "F16", *FLOATS, *EIGHTS))
    model: Model = []
    while (held := sum(len(each.data) for each in model)) < nbytes:
        name = f"model.layers.{len(model) // 4}.{draws.choice(NAMES)}.{len(model)}"
        dtype = main if chance.often(0.8) else draws.choice((*WIDTH_OF, *SUB_BYTE))
        room = max(nbytes - held, 64)
        model.append(
            tensor(chance, name, dtype, min(room, draws.choice((100, 3000, nbytes // 2, nbytes))))
        )
        if len(model) > 40:
            break
    return model


def tensor(chance: Chance, name: str, dtype: str, nbytes: int) -> Tensor:
    """New weights, matrices for the most part."""
    draws = chance.draws
    if dtype in SUB_BYTE:
        count = max(8, nbytes // 8 * 8)
        return Tensor(name, dtype, (count,), chance.bytes(count * DTYPE_BITS[dtype] // 8))
    count = max(1, nbytes // WIDTH_OF[dtype])
    columns = draws.choice((1, 3, 16, 32, 64, 64, 64, 100, 128))
    shape = (count // columns, columns) if count >= 2 * columns > 2 else (count,)
    if count == 1 or chance.often(0.03):
        shape = chance.draws.choice(((), (1,), (1, 1, 1)))
    if len(shape) == 2 and shape[1] == 64 and chance.often(0.2):
        shape = (shape[0], 4, 16)
    count = int(np.prod(shape))
    if dtype in FLOATS:
        empty = Tensor(name, dtype, shape, b"")
        return cast(empty, chance.normal(shape, 0.02), dtype)
    if dtype in EIGHTS:
        # The upper byte of a half is a float of eight bits, of one kind or the other.
        data = floats(chance.normal((count,), 0.02), "F16").view(np.uint8)[1::2].tobytes()
        return Tensor(name, dtype, shape, data)
    if dtype == "BOOL":
        return Tensor(name, dtype, shape, (chance.noise.random(count) < 0.1).tobytes())
    if dtype == "C64":
        return Tensor(name, dtype, shape, chance.normal((count, 2), 0.02).tobytes())
    if chance.often(0.3):
        numbers = np.arange(count)
    else:
        numbers = np.abs(chance.normal((count,), 300)).astype(np.int64)
    return Tensor(name, dtype, shape, numbers.astype(f"<u{WIDTH_OF[dtype]}").tobytes())


# --- what becomes of them ---


def tuned(chance: Chance, model: Model) -> Model:
    """Everything moved a little."""
    return [moved(chance, each) for each in model]


def moved(chance: Chance, tensor: Tensor) -> Tensor:
    numbers = worth(tensor)
    if numbers is None:
        return scattered(chance, tensor)
    return cast(
        tensor, numbers + chance.normal(numbers.shape, chance.draws.choice(STEPS)), tensor.dtype
    )


def scattered(chance: Chance, tensor: Tensor) -> Tensor:
    """Some bytes are others."""
    if not tensor.data:
        return tensor
    data = np.frombuffer(tensor.data, np.uint8).copy()
    share = chance.draws.choice((0.0005, 0.01, 0.2))
    at = chance.noise.integers(0, len(data), max(1, int(len(data) * share)))
    data[at] += chance.noise.integers(1, 256, len(at), np.uint8)
    return replace(tensor, data=data.tobytes())


def last_layers(chance: Chance, model: Model) -> Model:
    kept = chance.draws.randrange(len(model))
    return model[:kept] + [moved(chance, each) for each in model[kept:]]


def sparse(chance: Chance, model: Model) -> Model:
    return [scattered(chance, each) for each in model]


def low_rank(chance: Chance, model: Model) -> Model:
    """As an adapter is merged."""
    found: Model = []
    for each in model:
        numbers = worth(each)
        if numbers is not None and numbers.ndim == 2:
            rank = chance.draws.choice((1, 2, 4))
            left = chance.normal((each.shape[0], rank), 0.02)
            found.append(
                cast(each, numbers + left @ chance.normal((rank, each.shape[1]), 0.02), each.dtype)
            )
        else:
            found.append(each)
    return found


def other_rows(chance: Chance, model: Model) -> Model:
    """More or fewer of them in some matrices."""
    found: Model = []
    for each in model:
        numbers = worth(each)
        if numbers is None or numbers.ndim < 2 or chance.often(0.5):
            found.append(each)
            continue
        if chance.often(0.5):
            more = chance.normal((chance.draws.randint(1, 8), *numbers.shape[1:]), 0.02)
            found.append(cast(each, np.concatenate([numbers, more]), each.dtype))
        else:
            found.append(cast(each, numbers[: max(1, len(numbers) - 3)], each.dtype))
    return found


def recast(chance: Chance, model: Model) -> Model:
    """To another precision, and sometimes back."""
    dtype, back = chance.draws.choice(FLOATS), chance.often(0.3)
    found: Model = []
    for each in model:
        numbers = worth(each)
        there = each if numbers is None else cast(each, numbers, dtype)
        again = worth(there) if back else None
        found.append(there if again is None else cast(there, again, each.dtype))
    return found


def renamed(chance: Chance, model: Model) -> Model:
    prefix = chance.draws.choice(("base_model.", "text.", "é/", "\N{HUGGING FACE}", ""))
    return [replace(each, name=prefix + each.name.replace("model", "net")) for each in model]


def reordered(chance: Chance, model: Model) -> Model:
    return chance.draws.sample(model, len(model))


def permuted(chance: Chance, model: Model) -> Model:
    """Rows in another order."""
    found: Model = []
    for each in model:
        width = WIDTH_OF.get(each.dtype)
        if width is None or len(each.shape) < 2 or not each.data:
            found.append(each)
            continue
        rows = np.frombuffer(each.data, np.uint8).reshape(each.shape[0], -1)
        found.append(replace(each, data=chance.noise.permutation(rows).tobytes()))
    return found


def tied(chance: Chance, model: Model) -> Model:
    """A tensor that is there twice."""
    twice = chance.draws.choice(model)
    return [*model, replace(twice, name=f"{twice.name}.tied")]


def fewer(chance: Chance, model: Model) -> Model:
    return chance.draws.sample(model, chance.draws.randint(1, len(model)))


def same(_chance: Chance, model: Model) -> Model:
    return model


def one_bit(chance: Chance, model: Model) -> Model:
    at = chance.draws.randrange(len(model))
    data = bytearray(model[at].data)
    if data:
        data[chance.draws.randrange(len(data))] ^= 1 << chance.draws.randrange(8)
    return [*model[:at], replace(model[at], data=bytes(data)), *model[at + 1 :]]


def broken_numbers(chance: Chance, model: Model) -> Model:
    """NaNs, infinities, denormals and zeros of both signs, here and there or everywhere."""
    found: Model = []
    for each in model:
        if each.dtype not in FLOATS or not each.data or chance.often(0.5):
            found.append(each)
            continue
        words = np.frombuffer(each.data, f"<u{WIDTH_OF[each.dtype]}").copy()
        special = awkward(each.dtype)
        at = chance.noise.integers(0, len(words), chance.draws.choice((1, 20, len(words))))
        words[at] = special[chance.noise.integers(0, len(special), len(at))]
        found.append(replace(each, data=words.tobytes()))
    return found


def relabelled(chance: Chance, model: Model) -> Model:
    """The same bytes under a dtype of the same width, or in another shape."""
    found: Model = []
    for each in model:
        width = WIDTH_OF.get(each.dtype)
        twins = [name for name in WIDTH_OF if WIDTH_OF[name] == width]
        dtype = chance.draws.choice(twins) if twins else each.dtype
        flat = (int(np.prod(each.shape)),) if chance.often(0.5) else each.shape
        found.append(replace(each, dtype=dtype, shape=flat))
    return found


def zeroed(chance: Chance, model: Model) -> Model:
    """Some layers of nothing, as where they were pruned."""
    return [
        replace(each, data=bytes(len(each.data))) if chance.often(0.3) else each for each in model
    ]


Change = Callable[[Chance, Model], Model]

CHANGES: dict[Change, int] = {
    tuned: 10,
    last_layers: 6,
    sparse: 4,
    low_rank: 4,
    other_rows: 4,
    recast: 4,
    renamed: 2,
    reordered: 2,
    permuted: 2,
    tied: 1,
    fewer: 2,
    same: 2,
    one_bit: 2,
    broken_numbers: 2,
    relabelled: 2,
    zeroed: 1,
}
"""How often each, of all."""


def changed(chance: Chance, model: Model) -> Model:
    """One thing done to a model, or two."""
    with np.errstate(all="ignore"):  # what was broken before is broken further
        for _ in range(1 + chance.often(0.2)):
            [change] = chance.draws.choices(list(CHANGES), list(CHANGES.values()))
            model = change(chance, model)
    return model


def merged(one: Model, other: Model) -> Model:
    """Half of each where they are of one shape."""
    by_name = {each.name: each for each in other}
    found: Model = []
    for each in one:
        twin = by_name.get(each.name)
        mine, its = worth(each), None if twin is None else worth(twin)
        if mine is None or its is None or mine.shape != its.shape:
            found.append(each)
        else:
            with np.errstate(all="ignore"):
                found.append(cast(each, (mine + its) / 2, each.dtype))
    return found
