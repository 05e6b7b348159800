"""Figures with a promise beside each, and whether it was kept."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.report import print_table


@dataclass(frozen=True)
class Figure:
    """A measured value, what it must reach and what it aims at; less is better or more is."""

    name: str
    value: float
    must: float | None
    aim: float | None = None
    less: bool = True
    about: str = ""

    @property
    def met(self) -> bool:
        """Whether it is what it must be; what is only aimed at is always met."""
        return self._reaches(self.must)

    @property
    def verdict(self) -> str:
        if not self.met:
            return "MISSED"
        aim = "" if self.aim is None else "aim too" if self._reaches(self.aim) else "not the aim"
        return ", ".join(word for word in ("MET" if self.must is not None else "", aim) if word)

    def _reaches(self, bound: float | None) -> bool:
        if bound is None:
            return True
        return self.value <= bound if self.less else self.value >= bound


def print_figures(figures: list[Figure]) -> None:
    rows = [
        [
            figure.name,
            f"{figure.value:.3f}",
            "" if figure.must is None else f"{'≤' if figure.less else '≥'} {figure.must:g}",
            "" if figure.aim is None else f"{figure.aim:g}",
            figure.verdict,
            figure.about,
        ]
        for figure in figures
    ]
    print_table("Figures", ["figure", "value", "must", "aim", "", "of"], rows)
    missed = sum(not figure.met for figure in figures)
    print(f"{len(figures) - missed} of {len(figures)} met")


def write_json(path: Path, figures: list[Figure], facts: dict[str, object]) -> None:
    """Figures with their verdicts, and what they were measured on."""
    told = [asdict(figure) | {"met": figure.met} for figure in figures]
    path.write_text(json.dumps(facts | {"figures": told}, indent=1), encoding="utf-8")
