"""The codec and its peers as coders of one tensor, alone or against a base, in pieces of 1 MiB.

Peers get the same help wherever they can use it: the compiled kernels that cut words into planes,
fused with the XOR where there is a base. Those that shuffle by themselves get the XOR of the words.
All write into ``out``, as ours does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import zstandard

import codec
from codec.elements.dtypes import dtype_of, layout_of
from codec.plane import planes
from codec.scratch import SCRATCH

PIECE_NBYTES = 1 << 20
ZIPNN_TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
Pack = Callable[[np.ndarray], Any]
Unpack = Callable[[Any, int], np.ndarray]


@dataclass(frozen=True)
class Work:
    """What is coded: bytes of ``dtype`` against a base or alone, restored into ``out``."""

    target: np.ndarray
    base: np.ndarray | None
    out: np.ndarray
    dtype: str
    threads: int = 1

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
        """Target, base and room of each piece."""
        for start in range(0, self.target.size, PIECE_NBYTES):
            part = slice(start, start + PIECE_NBYTES)
            base = None if self.base is None else self.base[part]
            yield self.target[part], base, self.out[part]


class Coder(Protocol):
    """Encodes all of a work, and decodes it into its ``out``."""

    def encode(self) -> list[Any]: ...

    def decode(self, stored: list[Any]) -> None: ...


class Ours:
    """A frame of this library."""

    def __init__(self, work: Work, name: str) -> None:
        self.work, self.name = work, name

    def encode(self) -> list[Any]:
        work = self.work
        options: dict[str, Any] = {"codec": self.name, "threads": work.threads}
        return [codec.encode(work.target, dtype=work.dtype, base=work.base, **options)]

    def decode(self, stored: list[Any]) -> None:
        work = self.work
        codec.decode(stored[0], base=work.base, out=work.out, threads=work.threads)


class Planes:
    """Byte planes of the words, or of their XOR with the base, each under a byte coder."""

    def __init__(self, work: Work, pack: Pack, unpack: Unpack) -> None:
        self.work, self.pack, self.unpack = work, pack, unpack
        self.layout = layout_of(dtype_of(work.dtype))

    def encode(self) -> list[Any]:
        stored = []
        for target, base, _ in self.work.pieces():
            for plane in planes.split(target, self.layout, base):
                packed = self.pack(plane)
                stored.append(packed if len(packed) < plane.size else plane.tobytes())
        return stored

    def decode(self, stored: list[Any]) -> None:
        width = self.layout.width
        for number, (target, base, out) in enumerate(self.work.pieces()):
            nbytes = target.size // width
            parts = stored[width * number : width * (number + 1)]
            plain = [
                np.frombuffer(part, np.uint8) if len(part) == nbytes else self.unpack(part, nbytes)
                for part in parts
            ]
            planes.merge(plain, self.layout, out, base)


class WholeWords:
    """A coder of typed words, which are XORed with the base first."""

    def __init__(self, work: Work, pack: Pack, unpack: Unpack) -> None:
        self.work, self.pack, self.unpack = work, pack, unpack

    def encode(self) -> list[Any]:
        return [
            self.pack(target if base is None else target ^ base)
            for target, base, _ in self.work.pieces()
        ]

    def decode(self, stored: list[Any]) -> None:
        for part, (_, base, out) in zip(stored, self.work.pieces(), strict=True):
            plain = self.unpack(part, out.size)
            if base is None:
                out[:] = plain
            else:
                np.bitwise_xor(plain, base, out=out)


class Copy:
    """memcpy of the raw bytes."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def encode(self) -> list[Any]:
        return [self.work.target.copy()]

    def decode(self, stored: list[Any]) -> None:
        np.copyto(self.work.out, stored[0])


def zstd_planes(work: Work, level: int | None) -> Coder:
    """Planes under zstd of a level; None: our tuned setting, for Huffman and little else."""
    made = SCRATCH.entropy if level is None else zstandard.ZstdCompressor(level=level)
    compressor, decompressor = made, zstandard.ZstdDecompressor()
    return Planes(
        work,
        lambda plane: compressor.compress(plane.data),
        lambda part, _nbytes: np.frombuffer(decompressor.decompress(part), np.uint8),
    )


def lz4_planes(work: Work) -> Coder:
    import lz4.block

    return Planes(
        work,
        lambda plane: lz4.block.compress(plane.data, store_size=False),
        lambda part, nbytes: np.frombuffer(
            lz4.block.decompress(part, uncompressed_size=nbytes), np.uint8
        ),
    )


def openzl_planes(work: Work) -> Coder:
    """Planes under OpenZL's entropy graph, which chooses between Huffman and FSE."""
    import openzl.ext as zl

    compressor = zl.Compressor()
    compressor.select_starting_graph(zl.graphs.Entropy().parameterize(compressor))
    context, reader = zl.CCtx(), zl.DCtx()

    def pack(plane: np.ndarray) -> bytes:
        context.ref_compressor(compressor)  # a context forgets what it was told after every use
        context.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
        return context.compress([zl.Input(zl.Type.Serial, plane)])

    return Planes(
        work,
        pack,
        lambda part, _nbytes: reader.decompress(part)[0].content.as_nparray(),
    )


def blosc2_words(work: Work, *, bits: bool) -> Coder:
    import blosc2

    blosc2.set_nthreads(1)
    width = layout_of(dtype_of(work.dtype)).width
    shuffle = blosc2.Filter.BITSHUFFLE if bits else blosc2.Filter.SHUFFLE

    def pack(words: np.ndarray) -> bytes:
        return blosc2.compress(
            words, typesize=width, clevel=3, filter=shuffle, codec=blosc2.Codec.ZSTD
        )

    return WholeWords(
        work, pack, lambda part, _nbytes: np.frombuffer(blosc2.decompress(part), np.uint8)
    )


def pcodec_words(work: Work) -> Coder:
    from pcodec import ChunkConfig, standalone

    kind = f"u{layout_of(dtype_of(work.dtype)).width}"
    config = ChunkConfig(compression_level=8)
    return WholeWords(
        work,
        lambda words: standalone.simple_compress(words.view(kind), config),
        lambda part, _nbytes: standalone.simple_decompress(part).view(np.uint8),
    )


def zipnn_words(work: Work) -> Coder:
    """ZipNN. It writes into the buffer it is given, so it gets its own."""
    from zipnn import ZipNN

    coder = ZipNN(bytearray_dtype=ZIPNN_TYPES[work.dtype], threads=1)
    return WholeWords(
        work,
        lambda words: bytes(coder.compress(bytearray(words.tobytes()))),
        lambda part, _nbytes: np.frombuffer(coder.decompress(part), np.uint8),
    )


BITX, ZIPNN, MEMCPY = "zstd-3 planes", "zipnn", "memcpy"
CODERS: dict[str, Callable[[Work], Coder]] = {
    MEMCPY: Copy,
    BITX: lambda work: zstd_planes(work, 3),
    "zstd-1 planes": lambda work: zstd_planes(work, 1),
    "zstd tuned planes": lambda work: zstd_planes(work, None),
    "lz4 planes": lz4_planes,
    "openzl planes": openzl_planes,
    "blosc2 shuffle": lambda work: blosc2_words(work, bits=False),
    "blosc2 bitshuffle": lambda work: blosc2_words(work, bits=True),
    "pcodec": pcodec_words,
    ZIPNN: zipnn_words,
}
"""Peers by name; against a base all of them work on the XOR, which with zstd-3 is BitX."""


def coder_of(name: str, work: Work) -> Coder:
    """A peer by its name, or ours by the name of a codec of frames."""
    made = CODERS.get(name)
    return Ours(work, name) if made is None else made(work)
