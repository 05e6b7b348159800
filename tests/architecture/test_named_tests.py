"""Pages that name tests as proof name tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("security.md", "promises.md")


def named() -> list[str]:
    pages = ((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)
    return sorted({name for page in pages for name in re.findall(r"`(tests/[^`]+)`", page)})


@pytest.mark.parametrize("name", named())
def test_named_tests_exist(name: str) -> None:
    path, *names = name.split("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    for each in names:
        assert re.search(rf"(def|class) {each}\b", source), name
