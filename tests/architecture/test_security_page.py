"""docs/security.md names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE))))
def test_named_tests_exist(named: str) -> None:
    path, *names = named.split("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    for name in names:
        assert re.search(rf"(def|class) {name}\b", source), named
