"""`clade mirror`: ask now, fetch ahead, and see what there is."""

import random

import pytest

from app.errors import HubError, InvalidRequest
from app.jobs.runner import drain
from app.mirror.upkeep import fetch_ahead, list_mirrors, parse_address, refresh
from app.tasks import HANDLERS
from tests.fixtures.api import REPO, add
from tests.fixtures.mirrors import OBJECT, MakeMirror

BIG = random.Random(2).randbytes(1_200_000)


def test_an_operator_lists_refreshes_and_fetches_ahead(mirror_of: MakeMirror):
    pair = mirror_of(fresh_s=3600)
    hub = pair.mirror.hub
    api = pair.upstream.api()
    api.create_repo(REPO, repo_type="dataset")
    api.create_commit(REPO, [add("big.bin", BIG)], commit_message="big", repo_type="dataset")
    address = parse_address(f"datasets/{REPO}")

    assert refresh(hub, address).stale == ""
    with hub.db.read() as session:
        (state,) = list_mirrors(session)
    assert (state.repo, state.awaited_files, state.awaited_bytes) == (
        f"datasets/{REPO}",
        1,
        len(BIG),
    )
    assert fetch_ahead(hub, address, None) == 1
    drain(hub, HANDLERS)
    with hub.db.read() as session:
        assert list_mirrors(session)[0].awaited_files == 0
    assert pair.between.count(OBJECT) == 1
    pair.between.is_down = True
    assert "cannot be reached" in refresh(hub, address).stale
    with pytest.raises(HubError, match="cannot be reached"):
        refresh(hub, parse_address("alice/other"))


@pytest.mark.parametrize("text", ["gpt2", "a/b/c", "datasets/a", ""])
def test_names_that_are_none(text: str):
    with pytest.raises(InvalidRequest, match="owner/name"):
        parse_address(text)
