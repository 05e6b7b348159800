"""Rows of a sweep made into means, text and CSV."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from serving.cli.sweep import Row
from serving.sim.interval import Interval, interval

SHARES = ("adherence", "rejected", "ttft_met", "tpot_met")
FIGURES = ("goodput", *SHARES, "p99_gap_s", "p99_ttft_s", "tokens", "preemptions", "duration_s")


@dataclass(frozen=True, slots=True)
class Cell:
    """All seeds of one policy at one load."""

    policy: str
    load: float
    rows: tuple[Row, ...]

    def figure(self, name: str) -> Interval:
        """A figure's mean and interval."""
        return interval([getattr(row.outcome, name) for row in self.rows])

    def class_adherence(self, name: str) -> Interval:
        """The adherence of one SLO class."""
        return interval([row.outcome.classes[name].adherence for row in self.rows])


def cells(rows: Sequence[Row], policies: Sequence[str]) -> list[Cell]:
    """Ordered by load, then as ``policies`` are."""
    by: dict[tuple[float, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        by.setdefault((row.load, row.policy), []).append(row)
    keys = sorted(by, key=lambda key: (key[0], policies.index(key[1])))
    return [Cell(policy, load, tuple(by[load, policy])) for load, policy in keys]


def text_table(found: Sequence[Cell]) -> str:
    """Aligned columns; ± is half of the 95 % confidence interval over seeds."""
    classes = sorted(found[0].rows[0].outcome.classes)
    head = ["load", "policy", "goodput/s", "adherence", "rejected", "TTFT met", "TPOT met",
            "p99 gap", "tokens", *(f"class {name}" for name in classes)]  # fmt: skip
    lines = [head]
    for cell in found:
        figures = [cell.figure(name) for name in ("goodput", *SHARES)]
        lines.append(
            [
                f"{cell.load:g}",
                cell.policy,
                _pm(figures[0], "{:.2f}"),
                *(_pm(share, "{:.3f}") for share in figures[1:]),
                f"{cell.figure('p99_gap_s').mean * 1e3:.0f} ms",
                f"{cell.figure('tokens').mean:.0f}",
                *(f"{cell.class_adherence(name).mean:.2f}" for name in classes),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def csv_table(rows: Sequence[Row]) -> str:
    """One line a run, per-class figures in columns of their own."""
    classes = sorted(rows[0].outcome.classes)
    per_class = [f"class_{name}_{share}" for name in classes for share in SHARES]
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["policy", "load", "seed", "rate", "offered", *FIGURES, *per_class])
    for row in sorted(rows, key=lambda row: (row.load, row.policy, row.seed)):
        outcome = row.outcome
        asked = (row.policy, row.load, row.seed, row.rate, outcome.offered)
        figures = (getattr(outcome, name) for name in FIGURES)
        of_classes = (getattr(outcome.classes[name], share) for name in classes for share in SHARES)
        writer.writerow([*asked, *figures, *of_classes])
    return out.getvalue()


def _pm(value: Interval, form: str) -> str:
    return f"{form.format(value.mean)} ±{form.format(value.half).lstrip('0') or '0'}"
