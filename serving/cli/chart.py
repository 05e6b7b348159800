"""Curves of a sweep as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from serving.cli.table import Cell

STRONG = {"scorpio-plus": "#d62728", "scorpio": "#1f4e9c", "scorpio-code": "#2ca3c7"}
"""Drawn strong and on top, in these colours; the rest is there to compare with."""


def draw(found: Sequence[Cell], title: str, path: Path) -> None:
    """Adherence, goodput and rejected share over load, with 95 % intervals, into a PNG."""
    figure = Figure(figsize=(15, 5.2), layout="constrained")
    axes = figure.subplots(1, 3)
    policies = list(dict.fromkeys(cell.policy for cell in found))
    panels = (
        ("adherence", "good / offered", "attainment"),
        ("goodput", "good requests a second", "goodput"),
        ("rejected", "rejected / offered", "rejected"),
    )
    for axis, (name, label, heading) in zip(axes, panels, strict=True):
        for number, policy in enumerate(policies):
            _curve(axis, [cell for cell in found if cell.policy == policy], name, number)
        axis.axvline(1.0, color="0.8", linewidth=1, zorder=0)
        axis.set(title=heading, xlabel="offered load / capacity", ylabel=label)
        axis.set_ylim(0, 1.03 if name != "goodput" else None)
        axis.grid(alpha=0.25)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _curve(axis: Axes, cells: Sequence[Cell], name: str, number: int) -> None:
    loads = [cell.load for cell in cells]
    figures = [cell.figure(name) for cell in cells]
    means = [figure.mean for figure in figures]
    strong = cells[0].policy in STRONG
    colour = STRONG.get(cells[0].policy, colormaps["tab20b"](number * 3 % 20))
    axis.plot(
        loads, means, label=cells[0].policy, color=colour, linewidth=2.6 if strong else 1.2,
        linestyle="-" if strong else ("--", ":", "-.")[number % 3], marker="o",
        markersize=4 if strong else 2.5, zorder=3 if strong else 2,
    )  # fmt: skip
    low = [figure.mean - figure.half for figure in figures]
    high = [figure.mean + figure.half for figure in figures]
    axis.fill_between(loads, low, high, color=colour, alpha=0.12, linewidth=0)
