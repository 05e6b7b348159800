"""Becomes ``tests/conftest.py`` beside the upstream tests: their fixtures, pointed at our hub.

The source distribution carries the tests but not the fixtures they ask for; these are ours, made
after what the tests do with them. Runs in the environment of the tests, which has nothing of ours.
"""

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Protocol

import huggingface_hub
import pytest
from huggingface_hub import HfApi, RepoUrl, constants

from tests import testing_constants

ENDPOINT = os.environ["HF_ENDPOINT"]
# Before any test module is imported: they take the names from here.
testing_constants.ENDPOINT_STAGING = ENDPOINT
constants._HF_DEFAULT_STAGING_ENDPOINT = ENDPOINT

from tests.testing_utils import repo_name  # noqa: E402

FIXED_HOST = "huggingface.co"
"""Whom ``RepoCard.validate`` of the 1.x line asks, whatever the endpoint is."""


def ask_our_hub_instead() -> None:
    """Let the 1.x client's requests to the fixed host go to our hub; later releases have none."""
    http = importlib.import_module("huggingface_hub.utils._http")
    if not huggingface_hub.__version__.startswith("1."):
        return

    def redirect(request) -> None:
        if request.url.host == FIXED_HOST:
            ours = type(request.url)(ENDPOINT)
            request.url = request.url.copy_with(scheme=ours.scheme, host=ours.host, port=ours.port)
            request.headers["host"] = request.url.netloc.decode()

    def client():
        made = http.default_client_factory()
        made.event_hooks = {**made.event_hooks, "request": [*made.event_hooks["request"], redirect]}
        return made

    http.set_client_factory(client)


ask_our_hub_instead()

MARKERS = [
    *("api", "transfer", "inference", "xet", "no_xet", "production", "deprecated", "git_lfs"),
    *("vcr", "asyncio", "flaky"),
]
HAS_XET = importlib.util.find_spec("hf_xet") is not None


class RepoFactory(Protocol):
    """Makes repos that are removed when the test is over."""

    def __call__(self, repo_type: str = "model", **options) -> RepoUrl: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", help="file of node ids; nothing else is run")


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", f"{marker}: of the upstream tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    cases = config.getoption("--cases")
    wanted = set(Path(cases).read_text().splitlines()) if cases else {item.nodeid for item in items}
    items[:] = [
        item
        for item in items
        if item.nodeid in wanted and not item.get_closest_marker("production")
    ]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("xet") and not HAS_XET:
        pytest.skip("needs hf_xet")
    if item.get_closest_marker("no_xet") and HAS_XET:
        pytest.skip("needs a client without hf_xet")
    if item.get_closest_marker("git_lfs"):
        pytest.skip("git-lfs has tests of its own")


def pytest_report_header() -> str:
    xet = "with" if HAS_XET else "without"
    return f"huggingface_hub {huggingface_hub.__version__} {xet} hf_xet against {ENDPOINT}"


@pytest.fixture(scope="session")
def api() -> HfApi:
    return HfApi(endpoint=ENDPOINT, token=testing_constants.TOKEN)


@pytest.fixture
def repo_factory(api: HfApi):
    made: list[tuple[RepoUrl, str | None]] = []

    def make(repo_type: str = "model", *, repo_id: str | None = None, token=None, **options):
        url = api.create_repo(
            repo_id or repo_name(prefix=repo_type), repo_type=repo_type, token=token, **options
        )
        made.append((url, token))
        return url

    yield make
    for url, token in made:
        api.delete_repo(url.repo_id, repo_type=url.repo_type, token=token, missing_ok=True)


@pytest.fixture
def new_repo_id(api: HfApi):
    name = f"{testing_constants.USER}/{repo_name()}"
    yield name
    api.delete_repo(name, missing_ok=True)
