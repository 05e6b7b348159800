"""How long an attack goes on: short in the test suite, as long as one likes in ``make torture``."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

IS_LONG = "TORTURE" in os.environ
"""Whether ``make torture`` runs."""


def budget(name: str, *, short: int, long: int) -> int:
    """A count or a number of seconds: TORTURE_<NAME>, else by whether the run is long."""
    return int(os.environ.get(f"TORTURE_{name}", long if IS_LONG else short))


def piece_s() -> float:
    """TORTURE_PIECE_S: how long an attack that goes in pieces may go on, by default to its end."""
    return float(os.environ.get("TORTURE_PIECE_S", "inf"))


@dataclass
class Summary:
    """One line about one attack."""

    attack: str
    seed: int
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def __str__(self) -> str:
        return f"torture {self.attack}: seed {self.seed}: {_listed(self.counts)}"


class Ledger:
    """What earlier pieces of an attack counted: lines of JSON in the file TORTURE_LEDGER."""

    def __init__(self, attack: str) -> None:
        self.attack = attack
        path = os.environ.get("TORTURE_LEDGER")
        self._path = None if path is None else Path(path)

    def pieces(self) -> list[dict[str, object]]:
        if self._path is None or not self._path.exists():
            return []
        lines = map(json.loads, self._path.read_text().splitlines())
        return [line for line in lines if line["attack"] == self.attack]

    def totals(self) -> Counter[str]:
        """Counts of all pieces that held; peaks ("… at most") are not added up."""
        total: Counter[str] = Counter()
        for piece in self.pieces():
            if piece["held"]:
                counts: dict[str, int] = piece["counts"]  # type: ignore[assignment]
                total.update({what: n for what, n in counts.items() if "at most" not in what})
        return total

    def add(self, summary: Summary, *, held: bool) -> None:
        if self._path is None:
            return
        line = {
            "attack": self.attack,
            "seed": summary.seed,
            "held": held,
            "counts": summary.counts,
        }
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def seed(self) -> int:
        """TORTURE_SEED; else the number of this piece; without a ledger 1, afresh in a long run."""
        if given := os.environ.get("TORTURE_SEED"):
            return int(given)
        if self._path is not None:
            return len(self.pieces()) + 1
        return random.SystemRandom().randrange(1 << 32) if IS_LONG else 1


@contextmanager
def told(attack: str, tell: Callable[[str], None]) -> Iterator[Summary]:
    """Tell the summary in the end, whatever the end is, and add it to the ledger."""
    ledger, begun = Ledger(attack), monotonic()
    summary, held = Summary(attack, ledger.seed()), False
    try:
        yield summary
        held = True
    finally:
        summary.count("seconds", round(monotonic() - begun))
        ledger.add(summary, held=held)
        tell(str(summary))
        if len(pieces := ledger.pieces()) > 1:
            tell(f"torture {attack}: {len(pieces)} pieces: {_listed(ledger.totals())}")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
