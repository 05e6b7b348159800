"""Pages that name tests as proof name tests that exist, and no promise goes without."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("security.md", "promises.md")


def named() -> list[str]:
    pages = ((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)
    return sorted({name for page in pages for name in re.findall(r"`(tests/[^`]+)`", page)})


NUMBERS = {"D": 8, "I": 6, "S": 6, "A": 9, "T": 25}
"""How many promises of each kind there are; T: attacks."""

PROMISES = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
FIGURES = PROMISES.partition("## Last figures")[2]


def rows(text: str, number: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"| {number} |")]


@pytest.mark.parametrize(
    "number", [f"{kind}{at}" for kind, most in NUMBERS.items() for at in range(1, most + 1)]
)
def test_every_promise_has_a_proof_and_a_figure(number: str) -> None:
    proofs = rows(PROMISES.removesuffix(FIGURES), number)
    assert proofs
    assert all("`tests/" in row or "`python -m bench" in row for row in proofs)
    for _, what, _, read, command in (
        row.strip("| ").split(" | ") for row in rows(FIGURES, number)
    ):
        assert what
        assert read
        assert "`" in command
    assert number.startswith("T") or rows(FIGURES, number)


def test_budgets_that_figures_name_exist() -> None:
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for budget in re.findall(r"`TORTURE_(\w+)`", FIGURES):
        assert f'budget("{budget}"' in source


@pytest.mark.parametrize("name", named())
def test_named_tests_exist(name: str) -> None:
    path, *names = name.split("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    for each in names:
        assert re.search(rf"(def|class) {each}\b", source), name
