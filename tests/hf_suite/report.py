"""What a run says at its end: per file, what passed, failed and was left out."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

COLUMNS = ("passed", "failed", "skipped", "absent")


@dataclass(frozen=True)
class Report:
    """Outcome per node id. absent: the release has no such case."""

    outcomes: dict[str, str]

    @property
    def failed(self) -> list[str]:
        return sorted(case for case, outcome in self.outcomes.items() if outcome == "failed")

    def lines(self) -> Iterable[str]:
        by_file: dict[str, Counter[str]] = defaultdict(Counter)
        for case, outcome in self.outcomes.items():
            by_file[case.partition("::")[0]][outcome] += 1
        width = max(map(len, by_file), default=0)
        yield f"{'':{width}}" + "".join(f"{name:>9}" for name in COLUMNS)
        for file, counts in sorted(by_file.items()):
            yield f"{file:{width}}" + "".join(f"{counts[name]:>9}" for name in COLUMNS)
        total = Counter(self.outcomes.values())
        yield f"{'all':{width}}" + "".join(f"{total[name]:>9}" for name in COLUMNS)
        yield from (f"FAILED {case}" for case in self.failed)


def read_report(junit: Path, wanted: Iterable[str]) -> Report:
    """The report of a pytest run from its JUnit file; ``wanted`` are the cases asked for."""
    outcomes = dict.fromkeys(wanted, "absent")
    for case in ElementTree.parse(junit).iter("testcase"):
        node = _node_id(case.get("classname", ""), case.get("name", ""))
        children = {child.tag for child in case}
        if children & {"failure", "error"}:
            outcomes[node] = "failed"
        elif outcomes.get(node) != "failed":
            outcomes[node] = "skipped" if "skipped" in children else "passed"
    return Report(outcomes)


def _node_id(dotted: str, name: str) -> str:
    """``tests.test_x.TestY`` and ``test_z`` as pytest writes them; a file that fails to load."""
    if not dotted:
        return name.replace(".", "/") + ".py"
    package, module, *classes = dotted.split(".")
    return "::".join([f"{package}/{module}.py", *classes, name])
