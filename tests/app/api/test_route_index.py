"""The index leaves out no route that takes a request, and keeps their order."""

from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match

from app.main import ROUTES

WORDS = sorted({word for route in ROUTES.routes for word in route.path_format.split("/")})
segments = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(["models", "datasets", "spaces", "gpt2.git", "", "\0"]),
    st.text("ab.{}", max_size=3),
)


def takers(routes: list, path: str) -> list[str]:
    scope = {"type": "http", "method": "GET", "path": path}
    return [route.path for route in routes if route.matches(scope)[0] is not Match.NONE]


@given(st.lists(segments, max_size=7))
def test_routes_that_take_a_path_are_among_its_candidates(parts: list[str]):
    path = "/" + "/".join(parts)
    assert takers(ROUTES.candidates(path), path) == takers(list(ROUTES.routes), path)


def test_every_route_is_found_by_its_own_path():
    for route in ROUTES.routes:
        path = route.path_format.replace("{repo_type}{", "{").replace("{repo_type}", "models")
        assert route in ROUTES.candidates(path)
        assert route.path in takers(ROUTES.candidates(path), path)


def test_few_routes_are_tried_for_a_request():
    assert len(ROUTES.routes) > 100
    assert len(ROUTES.candidates("/owner/name/resolve/main/part-00/0001.json")) < 10
    assert len(ROUTES.candidates("/api/models/owner/name/tree/main")) < 15
