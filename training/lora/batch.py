"""Sequences of many jobs laid out as one batch of the model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.data.sample import Sample
from training.lora.function import Rows
from training.sched.shape import Layout, padded_width


@dataclass(frozen=True, slots=True)
class Entry:
    """A sequence of a job's step. ``number``: which one of the step's batch it is."""

    job: str
    number: int
    sample: Sample


@dataclass(frozen=True, slots=True)
class Share:
    """What of a batch belongs to one job.

    ``rows``: its tokens among all, flattened. ``num_targets``: of all targets, which lie in the
    order of the jobs.
    """

    entries: Sequence[Entry]
    rows: Rows
    num_targets: int


@dataclass(frozen=True, slots=True)
class Batch:
    """``tokens`` and ``positions [rows, width]``; ``lengths`` of the sequences in order.

    ``kept``: columns whose logits are wanted. ``places [k]``: of the kept logits, flattened, those
    that foretell ``targets [k]``; None: all, in order.
    """

    layout: Layout
    tokens: torch.Tensor
    positions: torch.Tensor
    lengths: Sequence[int]
    kept: torch.Tensor
    places: torch.Tensor | None
    targets: torch.Tensor
    shares: dict[str, Share]


def lay_out(entries: Sequence[Entry], layout: Layout, device: torch.device) -> Batch:
    """A batch of at least one entry; entries of a job follow one another."""
    lengths = [len(entry.sample) for entry in entries]
    if layout is Layout.PADDED:
        width = padded_width(lengths)
        starts = [number * width for number in range(len(entries))]
        shape = len(entries), width
    else:
        starts = [sum(lengths[:number]) for number in range(len(entries))]
        shape = 1, sum(lengths)
    tokens = torch.zeros(shape, dtype=torch.long)
    positions = torch.arange(shape[1]).repeat(shape[0], 1)
    for start, length, entry in zip(starts, lengths, entries, strict=True):
        tokens.view(-1)[start : start + length] = entry.sample.tokens
        if layout is Layout.PACKED:
            positions[0, start : start + length] = torch.arange(length)
    flat_places = torch.cat(
        [start + entry.sample.places for start, entry in zip(starts, entries, strict=True)]
    )
    kept = _kept(flat_places % shape[1], layout)
    places = None
    if layout is Layout.PADDED:
        column = torch.zeros(shape[1], dtype=torch.long)
        column[kept] = torch.arange(len(kept))
        places = flat_places // shape[1] * len(kept) + column[flat_places % shape[1]]
        places = places.to(device)
    targets = torch.cat([entry.sample.targets for entry in entries])
    shares: dict[str, Share] = {}
    for job in dict.fromkeys(entry.job for entry in entries):
        own = [number for number, entry in enumerate(entries) if entry.job == job]
        shares[job] = Share(
            [entries[i] for i in own],
            _rows([starts[i] for i in own], [lengths[i] for i in own], device),
            sum(len(entries[i].sample.places) for i in own),
        )
    return Batch(
        layout,
        tokens.to(device),
        positions.to(device),
        lengths,
        kept.to(device),
        places,
        targets.to(device),
        shares,
    )


def _kept(columns: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Packed: those that are wanted. Padded: all from the first to the last, in every row."""
    if layout is Layout.PACKED or not len(columns):
        return columns
    return torch.arange(int(columns.min()), int(columns.max()) + 1)


def _rows(starts: Sequence[int], lengths: Sequence[int], device: torch.device) -> Rows:
    stops = [start + length for start, length in zip(starts, lengths, strict=True)]
    if list(starts[1:]) == stops[:-1]:
        return slice(starts[0], stops[-1])
    runs = [torch.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    return torch.cat(runs).to(device)
