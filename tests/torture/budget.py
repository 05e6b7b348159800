"""How long an attack goes on: short in the test suite, as long as one likes in ``make torture``."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

IS_LONG = "TORTURE" in os.environ
"""Whether ``make torture`` runs."""


def budget(name: str, *, short: int, long: int) -> int:
    """A count or a number of seconds: TORTURE_<NAME>, else by whether the run is long."""
    return int(os.environ.get(f"TORTURE_{name}", long if IS_LONG else short))


def seed() -> int:
    """TORTURE_SEED, else a fresh one in a long run and always the same in a short one."""
    given = os.environ.get("TORTURE_SEED")
    return int(given) if given else random.SystemRandom().randrange(1 << 32) if IS_LONG else 1


@dataclass
class Summary:
    """One line about one attack."""

    attack: str
    seed: int
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {what}" for what, number in sorted(self.counts.items()))
        return f"torture {self.attack}: seed {self.seed}: {counts}"


@contextmanager
def told(attack: str, tell: Callable[[str], None]) -> Iterator[Summary]:
    """Tell the summary in the end, whatever the end is."""
    summary, begun = Summary(attack, seed()), monotonic()
    try:
        yield summary
    finally:
        summary.count("seconds", round(monotonic() - begun))
        tell(str(summary))
