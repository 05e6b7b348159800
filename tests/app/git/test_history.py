from datetime import UTC, datetime

import pytest

from app.catalog.history import Step
from app.errors import InvalidRequest
from app.git.asking import FetchRequest
from app.git.history import History
from app.git.names import KnownRefs, NamedOid

#  a - b - c - e     main = e, side = d, lost = x (no ref)
#       \- d -/
PARENTS = {"a": "", "b": "a", "c": "b", "d": "b", "e": "cd", "x": "a"}
STEPS = {
    oid: Step(oid, tuple(parents), f"tree-{oid}", datetime(2026, 1, 1, tzinfo=UTC))
    for oid, parents in PARENTS.items()
}
KNOWN = KnownRefs(
    (NamedOid("refs/heads/main", "e", "e"), NamedOid("refs/tags/v1", "t", "b")),
    {"t": b"tag body"},
    "refs/heads/main",
)
HISTORY = History(STEPS, KNOWN)


def test_a_client_without_anything_gets_everything_parents_first():
    missing = HISTORY.missing(FetchRequest(wants=["e"]))
    assert set(missing.commits) == set("abcde")
    place = {oid: number for number, oid in enumerate(missing.commits)}
    assert all(place[parent] < place[oid] for oid in missing.commits for parent in PARENTS[oid])


def test_what_the_client_has_is_left_out():
    missing = HISTORY.missing(FetchRequest(wants=["e"], haves=["c", "unknown"]))
    assert (set(missing.commits), missing.boundary) == ({"d", "e"}, ("b", "c"))


def test_a_want_by_its_tag_brings_the_tag():
    missing = HISTORY.missing(FetchRequest(wants=["t"]))
    assert (missing.commits, missing.tags) == (("a", "b"), ("t",))


@pytest.mark.parametrize("want", ["x", "unknown"])
def test_what_no_ref_reaches_is_not_to_be_had(want: str):
    with pytest.raises(InvalidRequest, match="not our ref"):
        HISTORY.missing(FetchRequest(wants=[want]))


def test_a_depth_cuts_every_line():
    missing = HISTORY.missing(FetchRequest(wants=["e"], depth=2))
    assert (set(missing.commits), missing.shallow) == (set("cde"), ("c", "d"))


def test_deepening_brings_what_lies_below_and_lifts_the_cut():
    request = FetchRequest(wants=["e"], haves=["e"], shallow={"c", "d"}, depth=3)
    missing = HISTORY.missing(request)
    assert missing.commits == ("b",)
    assert (missing.shallow, missing.unshallow) == (("b",), ("c", "d"))
    request.depth, request.relative = 2, True
    assert set(HISTORY.missing(request).commits) == {"a", "b"}
    assert HISTORY.missing(request).shallow == ()


def test_a_client_is_asked_until_each_want_stands_on_something():
    assert not HISTORY.is_ready(FetchRequest(wants=["e"], haves=["unknown"]))
    assert HISTORY.is_ready(FetchRequest(wants=["e"], haves=["unknown", "a"]))
    assert not HISTORY.is_ready(FetchRequest(wants=["e", "t"], haves=["c"]))
