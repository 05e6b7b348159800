"""What every attack needs: a nursery of processes, and a way to tell how it went."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.server import ROOT


@pytest.fixture(scope="session")
def nursery() -> Iterator[subprocess.Popen[str]]:
    """Forks servers and workers, see ``tests.torture.nursery``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.nursery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    yield process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line past pytest's capturing."""

    def line(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")
            sys.stdout.flush()

    return line
