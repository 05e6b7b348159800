"""What is left out of states changes nothing of what contents, encodings and commits come to."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.model.explorer import SCENARIOS, fault_of
from tests.model.protocol import Protocol
from tests.model.sameness import canonical
from tests.model.state import Actor, State


def seen(state: State) -> tuple[Any, ...]:
    """A state as users and encoders see it: which forms are current is told, where they lie not."""
    encodings = frozenset((each.content, each.base) for each in state.encodings)
    return state.contents, encodings, state.refs, state.leases, fault_of(state)


def everything_seen(scenario: str, same: Callable[[State], State]) -> tuple[set[Any], int]:
    """Of all states that can be reached, one by one; and how many there are."""
    protocol, chosen = Protocol(), SCENARIOS[scenario]
    first = same(chosen.start._replace(actors=tuple(map(Actor, chosen.actors))))
    known, waiting = {first}, [first]
    while waiting:
        for _, then in protocol.steps(waiting.pop()):
            reached = same(then)
            if reached not in known:
                known.add(reached)
                waiting.append(reached)
    return {seen(state) for state in known}, len(known)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_is_seen_of_all_states_as_of_those_that_stand_for_them(
    scenario: str, monkeypatch: pytest.MonkeyPatch
):
    """With two keys in play, and three where it starts with three: of more there are millions."""
    used = {each.key for each in SCENARIOS[scenario].start.formers}
    monkeypatch.setattr("tests.model.state.KEYS", 3 if used else 2)
    whole, states = everything_seen(scenario, lambda state: state)
    reduced, fewer = everything_seen(scenario, canonical)
    assert reduced == whole
    assert fewer < states
