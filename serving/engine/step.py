"""One step's batch as tensors: tokens of many sequences packed in a row, decodes before chunks.

There is no padding between sequences: the model sees ``[1, tokens]``. Only decoding sequences are
attended together, as many block tables padded to the longest of about equal length.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import numpy as np
import torch

from serving.engine.attention import Form, causal_attention, masked_attention
from serving.engine.kv import KvPool
from serving.engine.sequence import Sequence

PADDING_NBYTES = {"cpu": 512 << 10}
"""Keys and values of a layer that are rather read in vain than that a call more is made; by device.

Without an entry it is ``PADDING_ANYWHERE``: a GPU reads fast and starts slowly.
"""
PADDING_ANYWHERE = 64 << 20

Part = tuple[Sequence, int]
"""A sequence and how many of its pending tokens are computed."""


@dataclass(slots=True)
class _Decodes:
    """Sequences with one token in this step: rows ``[start, stop)`` of the pack."""

    start: int
    stop: int
    tables: np.ndarray
    lengths: np.ndarray
    """Tokens of each when the step is done."""


@dataclass(slots=True)
class _Chunk:
    """Several tokens of one sequence behind ``context`` computed ones."""

    start: int
    stop: int
    context: int
    table: np.ndarray


@dataclass(slots=True)
class PackedStep:
    """The tensors of a step, and attention over them. Made by ``pack``."""

    pool: KvPool
    token_ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    sampled: torch.Tensor
    """Places in the pack whose logits are wanted, in the order of ``sampling``."""
    sampling: list[Sequence]
    """Those whose last pending token is in this step."""
    _spans: list[tuple[int, int, str | None]]
    """Start and stop in the pack, and adapter, of each sequence."""
    _groups: list[_Decodes] = field(default_factory=list)
    _chunks: list[_Chunk] = field(default_factory=list)
    _views: dict[tuple[int, int | None, int], tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict
    )
    """Blocks and mask by start in the pack, window and query heads per KV head."""

    def adapter_rows(self) -> dict[str, torch.Tensor]:
        """Places in the pack by the adapter that their sequence wants; empty without any."""
        rows: dict[str, list[int]] = {}
        for start, stop, adapter in self._spans:
            if adapter is not None:
                rows.setdefault(adapter, []).extend(range(start, stop))
        device = self.token_ids.device
        return {name: torch.tensor(places, device=device) for name, places in rows.items()}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """Keep this layer's keys and values and attend; see ``Attending``."""
        self.pool.write(layer, self.slots, key.transpose(0, 1), value.transpose(0, 1))
        out = query.new_empty((query.shape[1], query.shape[0], value.shape[-1]))
        for group in self._groups:
            out[group.start : group.stop] = self._decode(layer, query, group, key.shape[0], form)
        for chunk in self._chunks:
            rows = slice(chunk.start, chunk.stop)
            length = chunk.stop - chunk.start
            windowed = form.window is not None and form.window < length
            if chunk.context == 0 and form.is_plain and not windowed:
                done = causal_attention(query[:, rows], key[:, rows], value[:, rows], form)
            else:
                done = self._extend(layer, query[:, rows], chunk, key.shape[0], form)
            out[rows] = done.transpose(0, 1)
        return out

    def _decode(
        self, layer: int, query: torch.Tensor, group: _Decodes, kv_heads: int, form: Form
    ) -> torch.Tensor:
        heads, count = query.shape[0], group.stop - group.start
        key = (group.start, form.window, 1)
        if key not in self._views:
            self._views[key] = self._view_decodes(group, form.window, query.dtype)
        blocks, mask = self._views[key]
        keys, values = self.pool.gather(layer, blocks, count)
        folded = query[:, group.start : group.stop].transpose(0, 1)
        folded = folded.reshape(count, kv_heads, heads // kv_heads, -1)
        return masked_attention(folded, keys, values, mask, form).reshape(count, heads, -1)

    def _extend(
        self, layer: int, query: torch.Tensor, chunk: _Chunk, kv_heads: int, form: Form
    ) -> torch.Tensor:
        heads, count, _ = query.shape
        share = heads // kv_heads
        key = (chunk.start, form.window, share)
        if key not in self._views:
            self._views[key] = self._view_chunk(chunk, form.window, share, query.dtype)
        blocks, mask = self._views[key]
        keys, values = self.pool.gather(layer, blocks, 1)
        folded = query.reshape(1, kv_heads, share * count, -1)
        done = masked_attention(folded, keys, values, mask, form)
        return done.reshape(heads, count, -1)

    def _view_decodes(
        self, group: _Decodes, window: int | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        size, lengths = self.pool.block_size, group.lengths
        first = np.zeros_like(lengths)
        if window is not None:
            first = np.maximum(0, lengths - window) // size
        width = int((-(-lengths // size) - first).max())
        columns = np.minimum(first[:, None] + np.arange(width), group.tables.shape[1] - 1)
        blocks = np.take_along_axis(group.tables, columns, axis=1)
        places = first[:, None] * size + np.arange(width * size)
        seen = places < lengths[:, None]
        if window is not None:
            seen &= places >= (lengths - window)[:, None]
        return self._tensors(blocks, seen[:, None, None, :], dtype)

    def _view_chunk(
        self, chunk: _Chunk, window: int | None, share: int, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        size, length = self.pool.block_size, chunk.context + chunk.stop - chunk.start
        first = 0 if window is None else max(0, chunk.context + 1 - window) // size
        last = -(-length // size)
        places = np.arange(first * size, last * size)
        own = np.arange(chunk.context, length)[:, None]
        seen = places <= own
        if window is not None:
            seen &= places > own - window
        return self._tensors(chunk.table[first:last], np.tile(seen, (share, 1)), dtype)

    def _tensors(
        self, blocks: np.ndarray, seen: np.ndarray, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.token_ids.device
        hidden = torch.from_numpy(~seen).to(device)
        mask = torch.zeros(seen.shape, dtype=dtype, device=device)
        mask.masked_fill_(hidden, float("-inf"))
        return torch.from_numpy(np.ascontiguousarray(blocks)).flatten().to(device), mask


def pack(parts: Seq[Part], pool: KvPool, device: torch.device) -> PackedStep:
    """Pack a step. Every sequence has the KV blocks for its tokens already."""
    decodes = [part for part in parts if part[1] == 1]
    decodes.sort(key=lambda part: len(part[0].blocks), reverse=True)
    ordered = decodes + [part for part in parts if part[1] > 1]
    token_ids: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    sampled: list[int] = []
    chunks: list[_Chunk] = []
    spans: list[tuple[int, int, str | None]] = []
    size = pool.block_size
    for sequence, count in ordered:
        start, computed = len(token_ids), sequence.num_computed_tokens
        span = range(computed, computed + count)
        blocks = sequence.blocks
        token_ids += sequence.tokens[computed : computed + count]
        positions += span
        slots += [blocks[place // size] * size + place % size for place in span]
        if count == sequence.num_pending_tokens:
            sampled.append(start + count - 1)
        spans.append((start, start + count, sequence.request.adapter))
        if count > 1:
            chunks.append(_Chunk(start, start + count, computed, np.array(blocks, np.int64)))

    def tensor(numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.long).to(device)

    return PackedStep(
        pool=pool,
        token_ids=tensor(token_ids),
        positions=tensor(positions),
        slots=tensor(slots),
        sampled=tensor(sampled),
        _spans=spans,
        sampling=[seq for seq, count in ordered if count == seq.num_pending_tokens],
        _groups=_groups([sequence for sequence, _ in decodes], _padding_of(pool)),
        _chunks=chunks,
    )


def _padding_of(pool: KvPool) -> int:
    """Blocks of padding that are as good as a call."""
    layer = pool.layers[0]
    nbytes = sum(part[0].nbytes for part in layer)
    return PADDING_NBYTES.get(layer[0].device.type, PADDING_ANYWHERE) // nbytes


def _groups(decodes: list[Sequence], padding: int) -> list[_Decodes]:
    """Neighbours in the pack, longest tables first, that together have at most so much padding."""
    groups: list[_Decodes] = []
    start = 0
    while start < len(decodes):
        widest = len(decodes[start].blocks)
        stop, wasted = start, 0
        while stop < len(decodes):
            wasted += widest - len(decodes[stop].blocks)
            if wasted > padding:
                break
            stop += 1
        members = decodes[start:stop]
        tables = np.zeros((len(members), widest), np.int64)
        for row, each in zip(tables, members, strict=True):
            row[: len(each.blocks)] = each.blocks
        lengths = np.array([each.num_computed_tokens + 1 for each in members], np.int64)
        groups.append(_Decodes(start, stop, tables, lengths))
        start = stop
    return groups
