import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.choice import Way, choose_ways
from client.errors import BadAnswer
from client.plan import RestorePlan

PLAN: dict[str, Any] = {
    "version": 1,
    "commit": "c" * 40,
    "sha256": "ab" * 32,
    "nbytes": 500,
    "segments": [[100, 0], [200, 1], [200, 1]],
    "contents": [
        ["blake3:" + "00" * 32, 100, "raw", None, 0, 0, 100],
        ["blake3:" + "01" * 32, 200, "BITX", 2, 0, 100, 80],
        ["blake3:" + "02" * 32, 200, "PLANE", None, 1, 0, 110],
    ],
    "extents": [{"url": "http://hub/a", "nbytes": 180}, {"url": "http://hub/b", "nbytes": 110}],
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def altered(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(PLAN) | changes


def test_sound_plan_is_read() -> None:
    plan = RestorePlan.parse(PLAN)

    assert [segment.start for segment in plan.segments] == [0, 100, 300]
    assert plan.contents[1].location is not None
    assert plan.contents[1].location.base == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"nbytes": 499},
        {"segments": [[100, 0], [200, 1], [200, 9]]},
        {"segments": [[100, 0], [400, 1]]},
        {"extents": [{"url": "http://hub/a", "nbytes": 179}, {"url": "b", "nbytes": 110}]},
        {"contents": [*PLAN["contents"][:2], ["blake3:" + "02" * 32, 200]]},
        {"contents": [["sha1:" + "00" * 32, 100], *PLAN["contents"][1:]]},
        {"contents": [["blake3:" + "00" * 32, 100, "raw", 2, 0, 0, 100], *PLAN["contents"][1:]]},
    ],
)
def test_inconsistent_plan_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        RestorePlan.parse(altered(**changes))


@given(key=st.sampled_from(sorted(PLAN)), value=json_values)
def test_nonsense_is_refused_or_consistent(key: str, value: Any) -> None:
    with suppress(BadAnswer):
        RestorePlan.parse(altered(**{key: value})).check()


class TestChoice:
    plan = RestorePlan.parse(PLAN)
    base = bytes.fromhex("02" * 32)

    def test_delta_whose_base_is_at_hand_is_fetched(self) -> None:
        ways = choose_ways(self.plan, [0, 1], lambda digest: digest == self.base)

        assert ways == {0: Way.STORED, 1: Way.STORED}

    def test_base_comes_along_while_both_are_less_than_the_content(self) -> None:
        assert choose_ways(self.plan, [1], lambda _digest: False) == {1: Way.STORED}

    def test_plain_bytes_are_fetched_where_delta_and_base_are_more(self) -> None:
        contents = [*PLAN["contents"][:2], ["blake3:" + "02" * 32, 200, "PLANE", None, 1, 0, 130]]
        extents = [PLAN["extents"][0], {"url": "http://hub/b", "nbytes": 130}]
        plan = RestorePlan.parse(altered(contents=contents, extents=extents))

        assert choose_ways(plan, [1], lambda _digest: False) == {1: Way.PLAIN}

    def test_content_at_hand_is_not_fetched(self) -> None:
        assert choose_ways(self.plan, [1], lambda _digest: True) == {1: Way.LOCAL}

    def test_content_without_a_location_is_read_from_the_file(self) -> None:
        plan = RestorePlan.parse(
            altered(contents=[["blake3:" + "00" * 32, 100], *PLAN["contents"][1:]])
        )

        assert choose_ways(plan, [0], lambda _digest: False) == {0: Way.PLAIN}
