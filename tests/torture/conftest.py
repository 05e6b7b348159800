"""What every attack needs: a nursery of processes, and a way to tell how it went."""

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.torture.stack import Nursery, open_nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One for all attacks."""
    with open_nursery() as process:
        yield process


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line past pytest's capturing."""

    def line(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")
            sys.stdout.flush()

    return line
