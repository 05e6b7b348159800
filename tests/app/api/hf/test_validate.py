"""Cards are checked before they are uploaded."""

import pytest

from tests.fixtures.api import LiveHub, add


def test_bad_card_is_reported_before_upload(live_hub: LiveHub, live_repo: str):
    with pytest.raises(ValueError, match="model-index"):
        live_hub.api().create_commit(
            live_repo, [add("README.md", b"---\nmodel-index: 3\n---\n")], commit_message="card"
        )
