"""Every public method of ``HfApi``: served, or left out with a reason that the user reads."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from app.api.hf.out_of_scope import LEFT_OUT as REASONS
from tests.fixtures.client_calls import EMPTY, ENDPOINTS, LEFT_OUT, REFUSED, SERVED, World

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "compatibility.md"


pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # "experimental", "irreversible"
]


def test_the_tables_have_every_method():
    public = {name for name, _ in inspect.getmembers(HfApi, inspect.isfunction) if name[0] != "_"}
    tables = [SERVED.keys(), LEFT_OUT.keys(), ENDPOINTS, REFUSED.keys()]
    assert set().union(*tables) == public
    assert sum(map(len, tables)) == len(public)


def test_the_document_tells_the_same():
    """A row for what is served, and one for each reason of what is not."""
    _, _, section = DOCUMENT.read_text().partition("\n## Every method")
    section, _, _ = section.partition("\n## ")
    rows = dict(re.findall(r"^\| ([^|`]+) \| (`[^|]+`) \|$", section, re.MULTILINE))
    told = {reason: set(re.findall(r"`(\w+)`", row)) for reason, row in rows.items()}
    assert told.pop("served") == SERVED.keys()
    assert told.pop("asks a host of its own") == ENDPOINTS
    assert told.pop("refused by the client") == REFUSED.keys()
    left_out = [method for row in told.values() for method in row]
    assert sorted(left_out) == sorted(LEFT_OUT)
    assert told.keys() <= set(REASONS.values())


@pytest.mark.parametrize("method", SERVED)
def test_served_methods_answer(world: World, method: str):
    answer = SERVED[method](world)
    if isinstance(answer, Iterator | list):
        assert bool(list(answer)) is (method not in EMPTY)
    assert answer is not False


@pytest.mark.parametrize("method", LEFT_OUT)
def test_methods_left_out_say_why(world: World, method: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(world.path)
    with pytest.raises(HfHubHTTPError) as refusal:
        _whole(getattr(world.api, method)(**LEFT_OUT[method]))
    answer = refusal.value.response
    assert answer.status_code == 501
    assert answer.headers["X-Error-Message"] in REASONS.values()
    assert answer.headers["X-Error-Message"] in str(refusal.value)


@pytest.mark.parametrize("method", REFUSED)
def test_some_are_refused_by_the_client(world: World, method: str):
    with pytest.raises(ValueError, match="only available on the Hugging Face Hub"):
        getattr(world.api, method)(**REFUSED[method])


def _whole(answer: Any) -> None:
    if isinstance(answer, Iterator):
        list(answer)
