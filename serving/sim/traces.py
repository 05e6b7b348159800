"""Public request traces, read from lines of text: Azure's CSV and Mooncake's JSONL columns."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Any

from serving.sim.arrivals import Arrival

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE_KEYS = ("timestamp", "input_length", "output_length")
PREFIX_KEY = "hash_ids"


class BadTrace(ValueError):
    """A trace that cannot be read; says where and what was expected."""


def parse_trace(lines: Iterable[str]) -> list[Arrival]:
    """Arrivals in order of time, the first at 0 s.

    CSV with a head of at least ``TIMESTAMP,ContextTokens,GeneratedTokens`` (ISO date and time, or a
    number of seconds), or one JSON object a line with at least ``timestamp`` (milliseconds),
    ``input_length`` and ``output_length``, and maybe ``hash_ids``, the names of a prompt's blocks.
    Requests without a prompt or an answer are counted as having one token of it.

    Raises:
        BadTrace: neither of these, or fewer than two requests.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first = next(numbered, None)
    if first is None:
        raise BadTrace("the trace is empty")
    numbered = chain([first], numbered)
    read = _mooncake if first[1].lstrip().startswith("{") else _azure
    arrivals = sorted(read(numbered), key=lambda arrival: arrival.at_s)
    if len(arrivals) < 2:
        raise BadTrace("a trace needs at least two requests")
    start_s = arrivals[0].at_s
    return [replace(each, at_s=each.at_s - start_s) for each in arrivals]


def _azure(numbered: Iterator[tuple[int, str]]) -> Iterator[Arrival]:
    _, head = next(numbered)
    names = [name.strip().lstrip("\ufeff") for name in next(csv.reader([head]))]
    if not set(AZURE_COLUMNS) <= set(names):
        raise BadTrace(
            f"line 1: expected the columns {', '.join(AZURE_COLUMNS)}, or JSON lines with "
            f"{', '.join(MOONCAKE_KEYS)}; found {', '.join(names)[:200]}"
        )
    places = [names.index(name) for name in AZURE_COLUMNS]
    for number, line in numbered:
        cells = next(csv.reader([line]))
        yield _row(number, lambda cells=cells: [cells[place] for place in places], _seconds)


def _mooncake(numbered: Iterator[tuple[int, str]]) -> Iterator[Arrival]:
    for number, line in numbered:

        def cells(line: str = line) -> list[Any]:
            told = json.loads(line)
            return [*(told[key] for key in MOONCAKE_KEYS), told.get(PREFIX_KEY) or ()]

        yield _row(number, cells, lambda milliseconds: float(milliseconds) / 1000)


def _row(number: int, cells: Callable[[], list[Any]], seconds: Callable[[Any], float]) -> Arrival:
    try:
        at, prompt, output, *prefix = cells()
        names = tuple(int(name) for name in (prefix[0] if prefix else ()))
        if not all(0 <= name < 1 << 64 for name in names):
            raise ValueError(f"{PREFIX_KEY} are numbers of 64 bits")
        return Arrival(seconds(at), max(1, int(prompt)), max(1, int(output)), names)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BadTrace(f"line {number}: {type(error).__name__}: {error}") from error


def _seconds(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        text = cell.strip()
        head, dot, fraction = text.partition(".")
        if dot:  # seven digits, where datetime takes six
            text = f"{head}.{fraction[:6]}"
        return datetime.fromisoformat(text).timestamp()
