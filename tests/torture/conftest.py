"""What every attack needs: a nursery of processes."""

from collections.abc import Iterator

import pytest

from tests.torture.stack import Nursery, open_nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One for all attacks."""
    with open_nursery() as process:
        yield process
