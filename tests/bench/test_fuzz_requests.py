"""Hostile bodies at every door of the hub, some dozens at each; `make fuzz` sends thousands."""

from pathlib import Path

from bench.fuzz_requests import check, fuzzed_hub, run


def test_no_body_breaks_the_hub(tmp_path: Path):
    with fuzzed_hub(tmp_path) as (hub, client):
        outcomes = run(client, 1, 40)
        check(hub, client)
    assert {sum(counts.values()) for counts in outcomes.values()} == {40}
    taken = {name for name, counts in outcomes.items() if any(s < 300 for s in counts)}
    assert {"commit", "LFS batch", "xorb", "shard, events", "git push"} <= taken
