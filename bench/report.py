"""Printing: tables of aligned columns, byte counts and ratios."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def print_table(
    title: str, head: Sequence[str], rows: Iterable[Sequence[object]], note: str = ""
) -> None:
    """Print rows under a head; columns whose cells are all numbers are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    numeric = [
        all(_is_numeric(row[column]) for row in cells) and bool(cells)
        for column in range(len(head))
    ]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()

    print(f"\n{title}")
    print(line(head))
    print("  ".join("-" * width for width in widths))
    for row in cells:
        print(line(row))
    if note:
        print(note)
    print(flush=True)


def print_markdown(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as the tables of docs/ are written."""
    print(f"\n{title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def _is_numeric(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell in {"-", "–"}


def mb(nbytes: float) -> str:
    """Bytes as decimal megabytes with one digit."""
    return f"{nbytes / 1e6:,.1f}"


def ratio(value: float, of: float) -> str:
    """``value`` / ``of`` with three digits, a dash where there is nothing to divide by."""
    return f"{value / of:.3f}" if of else "-"


def interleaved(rounds: int, contenders: dict[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run every contender once per round, in rotating order, so that drift hits all alike."""
    results: dict[str, list[T]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            results[name].append(contenders[name]())
    return results


def median(values: Iterable[float]) -> float:
    """The median of at least one value."""
    return statistics.median(values)


def median_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Median over the rounds of ours / peer within the same round."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile of at least one value."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
