"""Files of every kind, sound, odd and broken, and files that come of earlier ones."""

import gzip
import io
import json
import struct
import zipfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.deltas.sketches import MIN_SKETCHED_NBYTES
from app.digest import PIECE_BYTES
from app.formats import chunking, layout
from app.formats.ggml import GGML_TYPES
from app.ingest.dissect import LITERAL_NBYTES
from app.restore.reader import ITEM_NBYTES
from app.settings import Limits
from app.xet.virtual import XORB_RAW_NBYTES
from tests.app.formats.hostile_headers import HOSTILE, ODD_BUT_SOUND
from tests.fixtures.files import gguf_header, gguf_info, gguf_of, gguf_pair, safetensors_file
from tests.torture.weights import (
    BLOCKS,
    Chance,
    Model,
    Tensor,
    born,
    changed,
    merged,
    worth,
)

LIMITS = Limits()  # pyright: ignore[reportCallIssue]
BOUNDS = sorted(
    {
        *(0, layout.SNIFF_NBYTES, MIN_SKETCHED_NBYTES, layout.SMALL_FILE_NBYTES),
        *(64 << 10, layout.WALK_NBYTES, LITERAL_NBYTES, PIECE_BYTES, LIMITS.header_inline_nbytes),
        *(chunking.MIN_NBYTES, chunking.AVERAGE_NBYTES, chunking.MAX_NBYTES, ITEM_NBYTES),
        *(LIMITS.regular_nbytes, XORB_RAW_NBYTES, 24 << 20, 32 << 20, 64 << 20),
    }
)
"""Sizes from which on something is done otherwise: of files, literals, chunks, pieces, parts,
streams and packs."""

NUMBER_OF = {name: number for number, (name, _, _) in GGML_TYPES.items()}
OFTEN_READ = (
    *("README.md", "config.json", ".gitattributes", ".gitignore", "tokenizer_config.json"),
    *("model.safetensors.index.json", "adapter_config.json", "generation_config.json"),
)
"""Files that the hub or clients look into, whatever they hold."""

ONE_HEADER_NBYTES = 104

PICKLES = (
    b"(lp0\nI1\naF2.5\naVabc\na.",
    b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01u.",
    b"cposix\nsystem\n(S'id'\ntR.",
    b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02K\x03e.",
    b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
)


@dataclass(frozen=True)
class Made:
    """A file to send, and of which kind it is."""

    kind: str
    path: str
    data: bytes


@dataclass
class Maker:
    """Makes files, remembering the latest."""

    chance: Chance
    made: int = 0
    models: deque[Model] = field(default_factory=lambda: deque(maxlen=60))
    files: deque[bytes] = field(default_factory=lambda: deque(maxlen=60))

    def some(self) -> list[Made]:
        """A file, or what belongs together."""
        [kind] = self.chance.draws.choices(list(KINDS), [weight for weight, _ in KINDS.values()])
        found = KINDS[kind][1](self)
        self.made += 1
        files = [Made(kind, self._path(suffix), data) for suffix, data in found]
        self.files.extend(each.data for each in files if len(each.data) <= 1 << 20)
        return files

    def _path(self, suffix: str) -> str:
        draws = self.chance.draws
        folder = draws.choice(("", "", "", "a/", "a/b/c/", "ünï/", "x y/"))
        if self.chance.often(0.02):
            return f"{folder}{self.made}/{draws.choice(OFTEN_READ)}"
        return f"{folder}{self.made}{suffix}"

    def model(self) -> Model:
        """New, or one that comes of the latest."""
        draws = self.chance.draws
        if not self.models or self.chance.often(0.15):
            nbytes = draws.choice((500, 17_000, 20_000, 25_000, 50_000))
            if self.chance.often(0.01):
                nbytes = draws.choice((300_000, 1_300_000, 2_500_000))
            model = born(self.chance, nbytes)
        elif self.chance.often(0.05):
            model = merged(draws.choice(self.models), draws.choice(self.models))
        else:
            model = changed(self.chance, draws.choice(self.models))
        if sum(len(each.data) for each in model) < 4 << 20:
            self.models.append(model)
        return model


Found = list[tuple[str, bytes]]
"""Suffix and bytes of each file."""


# --- safetensors ---


def safetensors(chance: Chance, model: Model) -> bytes:
    """A sound file, written in one of the ways in which writers differ."""
    entries: dict[str, object] = {}
    start = 0
    for each in model:
        extent = [start, start + len(each.data)]
        entries[each.name] = {
            "dtype": each.dtype,
            "shape": list(each.shape),
            "data_offsets": extent,
        }
        start = extent[1]
        if chance.often(0.03):  # tensors of nothing between others
            shape = chance.draws.choice(([0], [3, 0], [0, 1 << 62]))
            entries[f"{each.name}.none"] = {
                "dtype": each.dtype,
                "shape": shape,
                "data_offsets": [start, start],
            }
    names = list(entries)
    if chance.often(0.2):
        chance.draws.shuffle(names)
    header = {name: entries[name] for name in names}
    if chance.often(0.5):
        notes = {"format": "pt", "step": str(chance.draws.randrange(9)), "ü": "ÿ\n"}
        header = {"__metadata__": notes} | header
    tight = chance.often(0.8)
    text = json.dumps(
        header, separators=(",", ":") if tight else None, ensure_ascii=chance.often(0.5)
    ).encode()
    padding = -len(text) % 8 if chance.often(0.7) else chance.draws.choice((0, 3, 5000))
    return safetensors_file(text + b" " * padding, b"".join(each.data for each in model))


def weights(maker: Maker) -> Found:
    return [(".safetensors", safetensors(maker.chance, maker.model()))]


def shards(maker: Maker) -> Found:
    model, draws = maker.model(), maker.chance.draws
    cut = draws.randint(0, len(model))
    parts = [part for part in (model[:cut], model[cut:]) if part]
    index = {
        "metadata": {"total_size": sum(len(each.data) for each in model)},
        "weight_map": {
            each.name: f"model-{number}.safetensors"
            for number, part in enumerate(parts, 1)
            for each in part
        },
    }
    return [
        *(
            (f"-{number:05}-of-{len(parts):05}.safetensors", safetensors(maker.chance, part))
            for number, part in enumerate(parts, 1)
        ),
        (".safetensors.index.json", json.dumps(index).encode()),
    ]


def broken_safetensors(maker: Maker) -> Found:
    """Every header that is known to be wrong, and any other fault."""
    chance, draws = maker.chance, maker.chance.draws
    if chance.often(0.5):
        name = draws.choice([*HOSTILE, *ODD_BUT_SOUND])
        data = HOSTILE[name][0] if name in HOSTILE else ODD_BUT_SOUND[name]
        return [(".safetensors", grown(chance, data) if chance.often(0.8) else data)]
    data = safetensors(chance, maker.model())
    nbytes = 8 + int.from_bytes(data[:8], "little")
    header, tensors = data[8:nbytes], data[nbytes:]
    match draws.randrange(7):
        case 0:
            data += chance.bytes(draws.choice((1, 8, 4096)))
        case 1:
            data = data[: draws.randrange(len(data))]
        case 2:
            at = draws.randrange(len(tensors) + 1)
            data = data[:nbytes] + tensors[:at] + bytes(draws.choice((1, 64))) + tensors[at:]
        case 3:
            data = spoiled(chance, data, nbytes)
        case 4:
            lie = draws.choice((0, 1, nbytes - 9, nbytes, len(data), 1 << 40, 1 << 63))
            data = struct.pack("<Q", lie) + data[8:]
        case 5:
            old, new = draws.choice(
                (
                    (b'"BF16"', b'"F32"'),
                    (b'"data_offsets":[', b'"data_offsets":[1'),
                    (b'"shape":[', b'"shape":[2,'),
                    (b'"F', b'"QX'),
                    (b'"BF16"', b'"I4"'),
                    (b"layers.0", b"layers.1"),
                )
            )
            data = safetensors_file(header.replace(old, new, draws.choice((1, -1))), tensors)
        case _:
            data = safetensors_file(header[:-1], tensors)
    return [(".safetensors", data)]


def grown(chance: Chance, data: bytes) -> bytes:
    """The same fault in a file that is long enough to be looked into."""
    nbytes = int.from_bytes(data[:8], "little")
    more = layout.SMALL_FILE_NBYTES
    if 8 + nbytes <= len(data) and chance.often(0.7):
        header, tensors = data[8 : 8 + nbytes], data[8 + nbytes :]
        return safetensors_file(header + b" " * more, tensors)
    return data + chance.bytes(more)


def spoiled(chance: Chance, data: bytes, nbytes: int) -> bytes:
    """Some of the first bytes are others."""
    found = bytearray(data)
    for _ in range(chance.draws.choice((1, 1, 2, 5))):
        if found:
            found[chance.draws.randrange(min(nbytes, len(found)))] = chance.draws.randrange(256)
    return bytes(found)


# --- GGUF ---


def gguf(maker: Maker) -> Found:
    return [(".gguf", _gguf(maker.chance, maker.model()))]


def _gguf(chance: Chance, model: Model) -> bytes:
    tensors = {}
    for each in model:
        kept = _blocks(chance, each)
        if kept is not None:
            tensors[each.name] = kept
    pairs: dict[str, int | str | Sequence[str]] = {"general.name": "ü" * chance.draws.randrange(9)}
    if chance.often(0.3):
        pairs["general.alignment"] = chance.draws.choice((8, 64, 4096))
    if chance.often(0.3):
        pairs["tokenizer.ggml.tokens"] = [f"<{n}>" for n in range(chance.draws.choice((3, 3000)))]
    return gguf_of(tensors, pairs, version=chance.draws.choice((2, 3, 3)))


def _blocks(chance: Chance, each: Tensor) -> tuple[int, tuple[int, ...], bytes] | None:
    """As it is where ggml has the type, else in blocks of eight bits, or of anything."""
    if len(each.shape) > 4 or not each.data:
        return None
    dims = tuple(reversed(each.shape))
    numbers = worth(each)
    count = int(np.prod(each.shape))
    if numbers is not None and count % 32 == 0 and dims[0] % 32 == 0 and chance.often(0.4):
        with np.errstate(all="ignore"):
            blocks = np.nan_to_num(numbers.astype("f4").reshape(-1, 32), nan=0, posinf=1, neginf=-1)
            scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype("<f2")
            whole = np.rint(blocks / np.where(scale == 0, 1, scale).astype("f4")).clip(-127, 127)
        packed = np.concatenate([scale.view(np.uint8), whole.astype("i1").view(np.uint8)], 1)
        return NUMBER_OF["Q8_0"], dims, packed.tobytes()
    name = chance.draws.choice(list(BLOCKS))
    block, nbytes = BLOCKS[name]
    if chance.often(0.1) and count >= block:
        rows = max(1, count // block)
        return NUMBER_OF[name], (block, rows), chance.bytes(rows * nbytes)
    if each.dtype in NUMBER_OF:
        return NUMBER_OF[each.dtype], dims, each.data
    return None


def broken_gguf(maker: Maker) -> Found:
    chance, draws = maker.chance, maker.chance.draws
    data = _gguf(chance, maker.model())
    match draws.randrange(5):
        case 0:
            data = data[: draws.randrange(len(data))]
        case 1:
            data = spoiled(chance, data, 400)
        case 2:
            data += chance.bytes(draws.choice((1, 31, 32, 5000)))
        case 3:
            version = draws.choice((0, 1, 4, 3 << 24, 0xFFFFFFFF))
            data = data[:4] + struct.pack("<I", version) + data[8:]
        case _:
            name, offset = draws.choice((("a", 0), ("b", 7), ("b", 32), ("b", 1 << 62)))
            infos = [gguf_info("a", (16, 1), 0, 0), gguf_info(name, (16, 1), 0, offset)]
            counts = draws.choice((None, (2, 1), (3, 1), (1 << 60, 1), (2, 1 << 60)))
            head = gguf_header([gguf_pair("general.name", "x")], infos, counts=counts)
            data = head + bytes(-len(head) % 32) + chance.bytes(draws.choice((96, 20_000)))
    return [(".gguf", data)]


# --- archives and pickles ---


def archive(maker: Maker) -> Found:
    chance, draws = maker.chance, maker.chance.draws
    held = io.BytesIO()
    model = maker.model()
    if chance.often(0.3):
        arrays = {f"a{n}": np.frombuffer(each.data, np.uint8) for n, each in enumerate(model)}
        draws.choice((np.savez, np.savez_compressed))(held, **arrays)  # pyright: ignore[reportArgumentType]
        return [(".npz.part", held.getvalue())]
    method = draws.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(held, "w", method) as file:
        file.writestr("archive/data.pkl", draws.choice(PICKLES))
        for n, each in enumerate(model):
            file.writestr(f"archive/data/{n}", each.data)
    data = held.getvalue()
    if chance.often(0.2):
        data = data[: draws.randrange(len(data))]
    # Scanning what is called a pickle takes a process each.
    return [(".pt" if chance.often(0.02) else ".zip", data)]


def compressed(maker: Maker) -> Found:
    data = gzip.compress(sentences(maker.chance, maker.chance.draws.choice((100, 30_000))), 1)
    return [(maker.chance.draws.choice((".gz", ".tgz")), data)]


def a_pickle(maker: Maker) -> Found:
    draws = maker.chance.draws
    data = draws.choice(PICKLES) + maker.chance.bytes(draws.choice((0, 0, 10, 20_000)))
    return [(".pkl" if maker.chance.often(0.05) else ".joblib.bak", data)]


# --- text and bytes ---


def sentences(chance: Chance, nbytes: int) -> bytes:
    words = ("the", "model", "wéights", "of", "layer", "\n", "0.25", "a", "tensor,", "模型", "\r\n")
    found: list[str] = []
    left = nbytes
    while left > 0:
        found.append(chance.draws.choice(words))
        left -= len(found[-1]) + 1
    text = " ".join(found).encode()
    return (text * 2)[:nbytes]


def text(maker: Maker) -> Found:
    chance, draws = maker.chance, maker.chance.draws
    match draws.randrange(4):
        case 0:
            body = {f"k{n}": draws.random() for n in range(draws.choice((1, 30, 400)))}
            return [(".json", json.dumps(body, indent=draws.choice((None, 2))).encode())]
        case 1:
            front = b"---\nlicense: mit\nbase_model: alice/m1\ntags: [a, b]\n---\n"
            return [(".md", front + sentences(chance, draws.randrange(2000)))]
        case 2:
            vocabulary = "\n".join(f"tok{n} {n}" for n in range(draws.choice((5, 2000))))
            return [(".txt", vocabulary.encode())]
        case _:
            return [(".py", sentences(chance, draws.randrange(3000)))]


def tiny(maker: Maker) -> Found:
    return [(".bin.txt", maker.chance.bytes(maker.chance.draws.randrange(70)))]


def noise(maker: Maker) -> Found:
    return [(".noise", maker.chance.bytes(maker.chance.draws.choice((300, 3000, 20_000, 70_000))))]


def nothing(maker: Maker) -> Found:
    return [(".noise", bytes(maker.chance.draws.choice((0, 1, 300, 20_000, 300_000))))]


def at_a_bound(maker: Maker) -> Found:
    """A byte below it, as long, or a byte above; the long ones seldom."""
    chance, draws = maker.chance, maker.chance.draws
    [bound] = draws.choices(BOUNDS, [max(each, 4096) ** -0.75 for each in BOUNDS])
    nbytes = max(0, bound + draws.choice((-1, 0, 1)))
    match draws.randrange(4):
        case 0:
            data = bytes(nbytes)
        case 1:
            data = (sentences(chance, min(nbytes, 3001)) * (nbytes // 3000 + 1))[:nbytes]
        case 2 if nbytes > ONE_HEADER_NBYTES:
            data = one_tensor(chance.bytes(nbytes - ONE_HEADER_NBYTES))
        case _:
            data = chance.bytes(nbytes)
    return [(".bound", data)]


def one_tensor(data: bytes) -> bytes:
    """A safetensors file of these bytes and ``ONE_HEADER_NBYTES``."""
    nbytes = len(data)
    header = {"w": {"dtype": "U8", "shape": [nbytes], "data_offsets": [0, nbytes]}}
    return safetensors_file(json.dumps(header).encode().ljust(ONE_HEADER_NBYTES - 8), data)


# --- what comes of earlier files ---


def again(maker: Maker) -> Found:
    if not maker.files:
        return tiny(maker)
    return [(".again", maker.chance.draws.choice(maker.files))]


def edited(maker: Maker) -> Found:
    """Something put in front, behind or into an earlier file, or taken out."""
    if not maker.files:
        return tiny(maker)
    chance, draws = maker.chance, maker.chance.draws
    data = draws.choice(maker.files)
    one, other = sorted((draws.randint(0, len(data)), draws.randint(0, len(data))))
    more = chance.bytes(draws.choice((1, 100, 5000)))
    match draws.randrange(5):
        case 0:
            data = more + data
        case 1:
            data += more
        case 2:
            data = data[:one] + more + data[one:]
        case 3:
            data = data[:one] + data[other:]
        case _:
            data += draws.choice(maker.files)
    return [(".edited", data)]


KINDS: dict[str, tuple[float, Callable[[Maker], Found]]] = {
    "safetensors": (14, weights),
    "sharded": (1.5, shards),
    "broken safetensors": (12, broken_safetensors),
    "GGUF": (3, gguf),
    "broken GGUF": (4, broken_gguf),
    "archives": (3, archive),
    "compressed": (3, compressed),
    "pickles": (3, a_pickle),
    "texts": (20, text),
    "tiny": (12, tiny),
    "noise": (7, noise),
    "zeros": (3, nothing),
    "sizes at a bound": (4, at_a_bound),
    "sent again": (4, again),
    "edited": (6, edited),
}
"""How often each, of a hundred, and what makes it."""
