"""A content beside its base where both are too long to hold: samples of both, in like words."""

from collections.abc import Iterator

import numpy as np

from codec.buffers import Bytes, Source, read_range
from codec.choice.sparse_price import foretell_changes, is_dense, quicker
from codec.context.training import is_contextual, train, training_ranges
from codec.elements.casts import cast_base, narrowed
from codec.elements.dtypes import layout_of
from codec.elements.words import Words
from codec.frames.head import Method
from codec.limits import BLOCK_NBYTES
from codec.sparse.training import Pairs, census, train_sparse


def tables_for(
    target: Source, base: Source, *, words: Words, raw_nbytes: int, base_nbytes: int
) -> bytes:
    """Tables for coding ``target`` against ``base`` in CTX, as :class:`codec.FrameEncoder` wants.

    Both are buffers of these lengths or a ``read(start, stop)`` over them, of which at most 5 MiB
    are read. Empty for a dtype that CTX does not code and for an empty target. Raises NotNarrow if
    the target's words are not as narrow as ``words`` says.
    """
    if not raw_nbytes or not is_contextual(words.coded.name):
        return b""
    common = words.coded_nbytes(words.common_nbytes(raw_nbytes, base_nbytes))
    pairs = _pairs(target, base, words, raw_nbytes, base_nbytes)
    return train(pairs, dtype=words.coded.name, raw_nbytes=common)


def choose_delta(
    target: Source,
    base: Source,
    *,
    words: Words,
    raw_nbytes: int,
    base_nbytes: int,
    quickly: bool = False,
) -> tuple[str, bytes]:
    """The codec that makes the shortest delta of samples, and its tables; see FrameEncoder.

    Arguments, what is read and errors are as for :func:`tables_for`. ``quickly`` says to take CTX
    where SPARSE is hardly shorter.
    """
    shape = {"raw_nbytes": raw_nbytes, "base_nbytes": base_nbytes}
    contexts = tables_for(target, base, words=words, **shape)
    other = ("CTX", contexts) if contexts else ("BITX", b"")
    pairs = [
        (np.array(data), np.array(below))
        for data, below in _pairs(target, base, words, raw_nbytes, base_nbytes)
    ]
    if not pairs:
        return other
    data, below = (np.concatenate(part) for part in zip(*pairs, strict=True))
    if is_dense(data, below, words.layout):
        return other
    whole = paired_blocks(data, below, Words(words.coded, words.coded, words.coded))
    lengths = foretell_changes(whole, words.layout, data.size, lambda: contexts).nbytes
    rival = lengths[Method[other[0]]]
    if lengths[Method.SPARSE] >= rival:
        return other
    if quickly and quicker(lengths[Method.SPARSE], rival) == other[0]:
        return other
    common = words.coded_nbytes(words.common_nbytes(raw_nbytes, base_nbytes))
    return "SPARSE", train_sparse([(data, below)], dtype=words.coded.name, raw_nbytes=common)


def sparse_tables_for(target: Bytes, base: Bytes, *, words: Words) -> bytes:
    """Tables for coding ``target`` against ``base`` in SPARSE, from all their changes."""
    return census(paired_blocks(target, base, words), words.layout).stored


def paired_blocks(target: Bytes, base: Bytes, words: Words) -> Pairs:
    """All blocks of a content that its base has as well, beside those of the base.

    Both are in scratch if they had to be cast, so good until the next.
    """
    common = words.common_nbytes(target.size, base.size)

    def blocks() -> Iterator[tuple[Bytes, Bytes]]:
        for start in range(0, common, BLOCK_NBYTES):
            stop = min(start + BLOCK_NBYTES, common)
            data = narrowed(words, target[start:stop])
            yield data, cast_base(words, base[slice(*words.base_span(start, stop, base.size))])

    return blocks


def _pairs(
    target: Source, base: Source, words: Words, raw_nbytes: int, base_nbytes: int
) -> Iterator[tuple[Bytes, Bytes]]:
    """Samples of the common part, and of what is coded against zeros behind the base's end."""
    common = words.common_nbytes(raw_nbytes, base_nbytes)
    for start, stop in _content_ranges(words, common):
        data = narrowed(words, read_range(target, start, stop))
        below = read_range(base, *words.base_span(start, stop, base_nbytes))
        yield data, cast_base(words, below)
    end = min(raw_nbytes, -(-common // BLOCK_NBYTES) * BLOCK_NBYTES)
    if common < end:
        beyond = narrowed(words, read_range(target, common, end))
        yield beyond, np.zeros(beyond.size, np.uint8)


def _content_ranges(words: Words, nbytes: int) -> list[tuple[int, int]]:
    """:func:`codec.training_ranges` of ``nbytes`` of a content, in bytes of the content."""
    ratio = layout_of(words.content).width // words.layout.width
    ranges = training_ranges(words.coded_nbytes(nbytes), dtype=words.coded.name)
    return [(start * ratio, stop * ratio) for start, stop in ranges]
