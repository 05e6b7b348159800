"""The composition: who runs jobs, and that every route has one shape of error."""

import threading

import pytest
from fastapi.routing import APIRoute

from app.hub import Hub
from app.main import ROUTERS, create_app
from tests.fixtures.api import running_server


def job_threads() -> int:
    return sum(thread.name.startswith("job-runner") for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("jobs", "threads"),
    [({"threads": 2}, 2), ({"threads": 0}, 0), ({"threads": 2, "broker_url": "redis://x"}, 0)],
)
def test_jobs_run_in_this_process_only_in_embedded_mode(hub: Hub, jobs: dict, threads: int):
    before = job_threads()
    fields = hub.settings.model_dump() | {"jobs": jobs}
    hub.settings = type(hub.settings).model_validate(fields)
    with running_server(hub):
        assert job_threads() - before == threads
    assert job_threads() == before


def test_no_two_routes_answer_the_same_request(hub: Hub):
    create_app(hub)
    seen: set[tuple[str, str]] = set()
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods:
                assert (method, route.path) not in seen
                seen.add((method, route.path))
