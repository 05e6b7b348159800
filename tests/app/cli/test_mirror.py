"""`clade mirror` on a hub that has no upstream."""

from pathlib import Path

from tests.fixtures.command import Clade


def test_a_hub_without_upstream_says_how_to_have_one(clade: Clade, pushed: Path) -> None:
    listed = clade("mirror", "list", "--data", pushed, "--json")
    refused = clade("mirror", "pull", "a/b", "--data", pushed)

    assert listed.facts == {"upstream": None, "repositories": []}
    assert refused.status == 1
    assert "CLADE_UPSTREAM" in refused.err
