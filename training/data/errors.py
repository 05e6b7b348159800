"""What is wrong with training data, told by line and field."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """``line`` from 1 on; ``field``: a path such as ``messages[2].content``, empty: the line."""

    line: int
    field: str
    says: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.field}" if self.field else "")
        return f"{where}: {self.says}"


class BadData(ValueError):
    """A file cannot be trained on. ``faults``: the first of them, in the order of the lines."""

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        shown = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{name} cannot be trained on:\n{shown}")
        self.faults = faults
