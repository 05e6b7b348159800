"""What a fetch carries, on small histories by hand and on random ones beside a plain twin."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.catalog.ancestry import Ancestry
from app.errors import InvalidRequest
from app.git.asking import FetchRequest
from app.git.history import History
from app.git.names import KnownRefs, NamedOid
from app.hub import Hub
from tests.fixtures.ancestry import Graph, graphs, reached, within, write_graph

#  a - b - c - e     main = e, side = d, lost = x (no ref)
#       \- d -/
PARENTS: Graph = {"a": "", "b": "a", "c": "b", "d": "b", "e": "cd", "x": "a"}
KNOWN = KnownRefs(
    (NamedOid("refs/heads/main", "e", "e"), NamedOid("refs/tags/v1", "t", "b")),
    {"t": b"tag body"},
    "refs/heads/main",
)


@pytest.fixture
def session(hub: Hub):
    """A session whose changes are never committed."""
    with hub.db.engine.connect() as connection, Session(connection) as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def history(session: Session) -> History:
    """The history above."""
    return History(Ancestry(session, write_graph(session, PARENTS)), KNOWN)


def test_a_client_without_anything_gets_everything_parents_first(history: History):
    missing = history.missing(FetchRequest(wants=["e"]))
    assert set(missing.commits) == set("abcde")
    place = {oid: number for number, oid in enumerate(missing.commits)}
    assert all(place[parent] < place[oid] for oid in missing.commits for parent in PARENTS[oid])


def test_what_the_client_has_is_left_out(history: History):
    missing = history.missing(FetchRequest(wants=["e"], haves=["c", "unknown"]))
    assert (set(missing.commits), missing.boundary) == ({"d", "e"}, ("b", "c"))


def test_a_want_by_its_tag_brings_the_tag(history: History):
    missing = history.missing(FetchRequest(wants=["t"]))
    assert (missing.commits, missing.tags) == (("a", "b"), ("t",))


@pytest.mark.parametrize("want", ["x", "unknown"])
def test_what_no_ref_reaches_is_not_to_be_had(history: History, want: str):
    with pytest.raises(InvalidRequest, match="not our ref"):
        history.missing(FetchRequest(wants=[want]))


def test_a_depth_cuts_every_line(history: History):
    missing = history.missing(FetchRequest(wants=["e"], depth=2))
    assert (set(missing.commits), missing.shallow) == (set("cde"), ("c", "d"))


def test_deepening_brings_what_lies_below_and_lifts_the_cut(history: History):
    request = FetchRequest(wants=["e"], haves=["e"], shallow={"c", "d"}, depth=3)
    missing = history.missing(request)
    assert missing.commits == ("b",)
    assert (missing.shallow, missing.unshallow) == (("b",), ("c", "d"))
    request.depth, request.relative = 2, True
    assert set(history.missing(request).commits) == {"a", "b"}
    assert history.missing(request).shallow == ()


def test_a_client_is_asked_until_each_want_stands_on_something(history: History):
    assert not history.is_ready(FetchRequest(wants=["e"], haves=["unknown"]))
    assert history.is_ready(FetchRequest(wants=["e"], haves=["unknown", "a"]))
    assert not history.is_ready(FetchRequest(wants=["e", "t"], haves=["c"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(graph=graphs(), data=st.data())
def test_fetches_carry_what_the_plain_twin_says(
    session: Session, graph: Graph, data: st.DataObject
):
    """First a clone, perhaps a shallow one; then a fetch, perhaps one that deepens."""
    some = st.lists(st.sampled_from(sorted(graph)), min_size=1, max_size=3, unique=True)
    heads, first = data.draw(some), data.draw(some)
    depth, deeper = (data.draw(st.none() | st.integers(1, 5)) for _ in range(2))
    known = KnownRefs(
        tuple(NamedOid(f"refs/heads/{oid}", oid, oid) for oid in sorted({*heads, *first})),
        {},
        "refs/heads/a",
    )
    nested = session.begin_nested()
    history = History(Ancestry(session, write_graph(session, graph)), known)

    cloned = history.missing(FetchRequest(wants=first, depth=depth))
    there = within(graph, first, depth) if depth else reached(graph, first)
    shallow = {oid for oid in there if not there >= set(graph[oid])}
    assert (set(cloned.commits), set(cloned.shallow)) == (there, shallow)

    request = FetchRequest(wants=heads, haves=first, shallow=set(shallow), depth=deeper)
    fetched = history.missing(request)
    cut = shallow
    if deeper:
        level = within(graph, heads, deeper)
        cut = {oid for oid in level if not level >= set(graph[oid])}
        assert set(fetched.shallow) == cut - shallow
        assert set(fetched.unshallow) == (shallow & level) - cut
    assert set(fetched.commits) == reached(graph, heads, cut) - there
    assert set(fetched.boundary) <= there
    place = {oid: number for number, oid in enumerate(fetched.commits)}
    assert all(place[up] < place[oid] for oid in place for up in graph[oid] if up in place)
    nested.rollback()


def test_a_fetch_reads_what_is_new(session: Session):
    """Of a line of thousands of commits, the end."""
    line = {f"{at:030x}": ([f"{at - 1:030x}"] if at else []) for at in range(2_000)}
    head, had = list(line)[-1], list(line)[-20]
    read: list[str] = []

    class Noted(Ancestry):
        def _keep(self, query) -> None:
            super()._keep(query)
            read.extend(self._steps)

    known = KnownRefs((NamedOid("refs/heads/main", head, head),), {}, "refs/heads/main")
    history = History(Noted(session, write_graph(session, line)), known)
    request = FetchRequest(wants=[head], haves=[had])
    assert history.is_ready(request)
    assert len(history.missing(request).commits) == 19
    assert len(set(read)) < 100
