"""A repository to upload to."""

import pytest

from app.hub import Hub
from tests.fixtures.ingested import make_repo


@pytest.fixture
def repo_id(hub: Hub) -> int:
    """A repository of the embedded hub."""
    return make_repo(hub)
