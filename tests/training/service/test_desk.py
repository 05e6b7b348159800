"""Reports say everything once, in order, whatever becomes of the answers."""

from typing import Any

import pytest

from client.errors import Unreachable
from client.trainer import Claim, Report, TrainerClient, Wanted
from training.service.desk import MOST_EVENTS, Desk, Held

CLAIM = Claim("ftjob-a", 3, 60.0, "t", "a/b", "c", "a/d", {}, "f", None, [], False, 0.0, 0)


class Ear(TrainerClient):
    """A hub that hears, and whose answers may be lost on their way back."""

    def __init__(self) -> None:
        super().__init__("http://hub.test", "token")
        self.heard: dict[int, Report] = {}
        self.deaf = self.mute = False
        self.wants: Wanted = "run"

    def beat(self, reports: Any) -> dict[str, Wanted]:
        if self.deaf:
            raise Unreachable("no answer")
        for each in reports:
            self.heard.setdefault(each.beat, each)  # one that comes twice counts once
        if self.mute:
            raise Unreachable("the answer was lost")
        return {each.job: self.wants for each in reports}

    @property
    def messages(self) -> list[str]:
        return [event["message"] for report in self.heard.values() for event in report.events]


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def desk(ear: Ear) -> Desk:
    return Desk(ear)


def test_what_was_not_heard_and_what_was_not_answered_is_said_once(ear: Ear, desk: Desk) -> None:
    held = desk.hold(CLAIM)
    held.say("one")
    ear.deaf = True
    with pytest.raises(Unreachable):
        desk.flush(held)
    held.say("two")
    ear.deaf, ear.mute = False, True
    with pytest.raises(Unreachable):
        desk.flush(held)
    held.say("three")
    ear.mute = False
    desk.flush(held)
    assert ear.messages == ["one", "two", "three"]
    assert sorted(ear.heard) == [1, 2]
    assert not held.has_more


def test_much_is_said_in_parts(ear: Ear, desk: Desk) -> None:
    held = desk.hold(CLAIM)
    said = [str(number) for number in range(2 * MOST_EVENTS + 1)]
    for each in said:
        held.say(each)
    desk.flush(held)
    assert ear.messages == said


def test_a_job_that_is_gone_stays_so_and_is_not_spoken_of(ear: Ear, desk: Desk) -> None:
    held = desk.hold(CLAIM)
    held.lost()
    held.say("late")
    desk.flush(held)
    assert ear.heard == {}
    assert held.wanted == "gone"
    held.answered("run")
    assert held.wanted == "gone"


def test_what_the_owner_wants_comes_back(ear: Ear, desk: Desk) -> None:
    held: Held = desk.hold(CLAIM)
    ear.wants = "pause"
    held.say("x")
    desk.flush(held)
    assert held.wanted == "pause"
