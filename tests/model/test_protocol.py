"""The protocol of docs/durability.md holds in every state, and needs each of its rules."""

import os
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from tests.model.explorer import SCENARIOS, explore
from tests.model.rules import Rule
from tests.torture.budget import Ledger, Summary, told

STATES = int(os.environ.get("MODEL_STATES", "5000"))
"""Of each scenario, the nearest to its start; 0: all."""

NEEDED_IN = {
    Rule.INTENT: "an upload and a sweep",
    Rule.READ_BACK: "an upload and a reader",
    Rule.FENCE: "an upload and a reader",
    Rule.UNIQUE_KEYS: "two uploads of the same bytes",
    Rule.COMMIT_LOOKS: "an upload and a reader",
    Rule.PROVE_FIRST: "an encoder and a reader",
    Rule.SWAP_LOOKS: "two encoders of one pack",
    Rule.OLD_STAYS: "an encoder and a reader",
    Rule.RETIRE_LOOKS: "two encoders of one pack",
    Rule.MARKS_ARE_SEEN: "an upload and a reader",
    Rule.BASES_COUNT: "an encoder and a reader",
    Rule.ROWS_FIRST: "an upload and a reader",
    Rule.DOOM: "two collectors of a former form",
    Rule.PUT_BACK_LOOKS: "an encoder and a collector of a former form",
    Rule.LIST_FIRST: "an upload and a sweep",
    Rule.FOLLOW: "an encoder and a reader",
}
"""A scenario that goes wrong without the rule."""


@pytest.mark.timeout(0 if STATES == 0 else 300)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_reachable_state_is_wrong(scenario: str, tell: Callable[[str], None]):
    attack = f"model, {scenario}"
    if STATES == 0 and Ledger(attack).totals()["states"]:
        pytest.skip("an earlier run went through all of it")
    with told(attack, tell) if STATES == 0 else nullcontext(Summary(attack, 0)) as summary:
        verdict = explore(SCENARIOS[scenario], at_most=STATES or 10**9)
        summary.count("states", verdict.states)
        assert verdict.violation is None, "\n".join(verdict.path)
        assert verdict.complete or verdict.states == STATES


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_without_a_rule_something_goes_wrong(rule: Rule):
    verdict = explore(SCENARIOS[NEEDED_IN[rule]], without=[rule], at_most=60_000)
    assert verdict.violation is not None
