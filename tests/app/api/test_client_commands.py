"""Every command of ``hf``: served, or left out with a reason that the user reads."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.hf.out_of_scope import LEFT_OUT as REASONS
from tests.fixtures.client_calls import World
from tests.fixtures.command_calls import (
    ELSEWHERE,
    LEFT_OUT,
    LOCAL,
    OF_GIT,
    REFUSED,
    SERVED,
    Shell,
    all_commands,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "compatibility.md"

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # "experimental", "irreversible"
]


@pytest.fixture(scope="module")
def shell(world: World) -> Iterator[Shell]:
    """One for all commands."""
    (world.path / "script.py").touch()
    with Shell(world.live.url, world.path) as shell:
        yield shell


def test_the_tables_have_every_command():
    tables = [SERVED.keys(), LEFT_OUT.keys(), REFUSED.keys(), LOCAL, OF_GIT, ELSEWHERE]
    assert set().union(*tables) == set(all_commands())
    assert sum(map(len, tables)) == len(set().union(*tables))


def test_the_document_tells_the_same():
    _, _, section = DOCUMENT.read_text().partition("\n## Every command")
    section, _, _ = section.partition("\n## ")
    rows = dict(re.findall(r"^\| ([^|`]+) \| (`[^|]+`) \|$", section, re.MULTILINE))
    told = {title: set(re.findall(r"`([\w -]+)`", row)) for title, row in rows.items()}
    assert told == {
        "served": SERVED.keys(),
        "left out": LEFT_OUT.keys(),
        "refused by the client": REFUSED.keys(),
        "ask nobody": LOCAL,
        "in a clone": OF_GIT,
        "ask hosts of their own": ELSEWHERE,
    }


@pytest.mark.parametrize("command", SERVED)
def test_served_commands_do_what_they_say(world: World, shell: Shell, command: str):
    call = SERVED[command]
    status, printed = shell.run(*command.split(), *call.arguments(world))
    assert status == 0, printed
    assert call.says in printed


@pytest.mark.parametrize("command", LEFT_OUT)
def test_commands_left_out_say_why(shell: Shell, command: str):
    status, printed = shell.run(*command.split(), *LEFT_OUT[command])
    assert status == 1, printed
    assert any(reason in printed for reason in REASONS.values()), printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("command", REFUSED)
def test_some_are_refused_by_the_client(shell: Shell, command: str):
    arguments, says = REFUSED[command]
    status, printed = shell.run(*command.split(), *arguments)
    assert status == 1
    assert says in printed
