"""The engine's thread: what comes from outside is done between steps, or told why not."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from serving.engine.engine import Engine
from serving.engine.loop import MOST_FAILURES, EngineDead, EngineLoop
from serving.engine.output import Event, Failed, TokenOutput
from serving.engine.params import SamplingParams
from serving.engine.sequence import Request
from serving.sched.decision import Decision
from serving.sched.engine import EngineView
from tests.fixtures.engines import Scripted, engine_of, tokens_by_request
from tests.fixtures.tiny_models import generated, prompts_of, tiny_model

WAIT_S = 60
"""Longer than anything here takes: a test that meets it has failed."""


@dataclass
class Heard:
    """Collects what is delivered, and knows who has ended."""

    events: list[Event] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, events: Sequence[Event]) -> None:
        with self.changed:
            self.events += events
            self.changed.notify_all()

    @property
    def ended(self) -> set[str]:
        return {
            each.request_id
            for each in self.events
            if not isinstance(each, TokenOutput) or each.finish is not None
        }

    def wait_for(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.ended >= set(names), WAIT_S)

    def wait_for_a_token(self, name: str) -> None:
        def is_told() -> bool:
            return any(each.request_id == name for each in self.events)

        with self.changed:
            assert self.changed.wait_for(is_told, WAIT_S)


@dataclass
class Gate:
    """A policy's script: runs everybody, but not before it is opened."""

    entered: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self, policy: Scripted, _view: EngineView) -> Decision:
        self.entered.set()
        assert self.opened.wait(WAIT_S)
        return policy.run_all()


def one_step(policy: Scripted, _view: EngineView) -> Decision:
    """Runs everybody once and then nobody: what has begun does not end by itself."""
    return policy.run_all() if policy.step == 1 else Decision()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def loops() -> Iterator[list[EngineLoop]]:
    made: list[EngineLoop] = []
    yield made
    for loop in made:
        loop.close()


def loop_of(loops: list[EngineLoop], heard: Heard, script: Any = None) -> EngineLoop:
    loops.append(EngineLoop(engine_of(tiny_model(), Scripted(script=script)), heard))
    return loops[-1]


def request(name: str, prompt: Sequence[int] = (5, 6, 7), count: int = 4) -> Request:
    params = SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True)
    return Request(request_id=name, prompt=tuple(prompt), params=params, arrival_s=0.0)


def test_requests_from_many_threads_are_answered(loops: list[EngineLoop], heard: Heard) -> None:
    loop = loop_of(loops, heard)
    prompts = prompts_of((3, 9, 14, 5))
    names = [str(number) for number in range(len(prompts))]

    threads = [
        threading.Thread(target=loop.submit, args=(request(name, prompt),))
        for name, prompt in zip(names, prompts, strict=True)
    ]
    for thread in threads:
        thread.start()
    heard.wait_for(*names)

    answers = tokens_by_request(heard.events)
    expected = generated(tiny_model(), prompts, 4)
    for name, tokens in zip(names, expected, strict=True):
        assert answers[name][: len(tokens)] == tokens


def test_an_aborted_request_is_told_of_no_more(loops: list[EngineLoop], heard: Heard) -> None:
    gate = Gate()
    loop = loop_of(loops, heard, gate)
    loop.submit(request("gone", count=200))
    loop.submit(request("stays"))
    loop.abort("gone")
    gate.opened.set()

    heard.wait_for("stays")
    loop.call(lambda engine: None).result(WAIT_S)
    before = len(heard.events)
    loop.submit(request("later"))
    heard.wait_for("later")

    assert "gone" not in heard.ended
    assert all(each.request_id == "later" for each in heard.events[before:])
    assert loop.call(lambda engine: engine.blocks.num_held).result(WAIT_S) == 0


def test_a_job_runs_between_steps_and_its_error_is_the_callers(
    loops: list[EngineLoop], heard: Heard
) -> None:
    loop = loop_of(loops, heard)

    def wrong(_engine: Engine) -> None:
        raise KeyError("mine")

    where = loop.call(lambda _engine: threading.current_thread().name)
    failed: Future[None] = loop.call(wrong)

    assert where.result(WAIT_S) == "engine"
    with pytest.raises(KeyError, match="mine"):
        failed.result(WAIT_S)
    loop.submit(request("after"))
    heard.wait_for("after")


def test_a_drained_job_waits_for_what_has_begun_and_holds_up_what_comes(
    loops: list[EngineLoop], heard: Heard
) -> None:
    gate = Gate()
    loop = loop_of(loops, heard, gate)
    loop.submit(request("before", count=6))
    assert gate.entered.wait(WAIT_S)

    seen: list[set[str]] = []
    job = loop.call(lambda engine: seen.append(heard.ended | {str(engine.is_idle)}), drained=True)
    assert loop.is_draining
    loop.submit(request("behind"))
    gate.opened.set()
    job.result(WAIT_S)
    heard.wait_for("before", "behind")

    assert seen == [{"before", "True"}]
    assert not loop.is_draining


def test_closing_ends_everybody_with_a_reason(loops: list[EngineLoop], heard: Heard) -> None:
    loop = loop_of(loops, heard, one_step)
    loop.submit(request("begun"))
    heard.wait_for_a_token("begun")
    pending = loop.call(lambda engine: None, drained=True)
    loop.submit(request("behind"))
    loop.close()

    ends = {each.request_id: each for each in heard.events if isinstance(each, Failed)}
    assert ends.keys() == {"begun", "behind"}
    assert "shutting down" in ends["behind"].message
    with pytest.raises(EngineDead, match="shutting down"):
        pending.result(WAIT_S)
    with pytest.raises(EngineDead):
        loop.submit(request("late"))
    with pytest.raises(EngineDead):
        loop.call(lambda engine: None).result(WAIT_S)
    assert loop.engine.blocks.num_held == 0


def test_a_request_that_fits_no_more_is_told_so(loops: list[EngineLoop], heard: Heard) -> None:
    """It was checked, and then the engine changed."""
    loop = loop_of(loops, heard)
    loop.call(lambda engine: engine.resize_pool(2)).result(WAIT_S)
    loop.submit(request("long", range(3, 60)))
    heard.wait_for("long")

    (only,) = heard.events
    assert isinstance(only, Failed)
    assert "at most 8" in only.message


def test_some_failed_steps_are_survived_and_too_many_are_the_end(
    loops: list[EngineLoop], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_of(loops, heard)
    run = loop.engine.runner.run

    def broken(_parts: object) -> None:
        raise RuntimeError("the device is gone")

    for number in range(MOST_FAILURES - 1):
        monkeypatch.setattr(loop.engine.runner, "run", broken)
        loop.submit(request(f"lost-{number}"))
        heard.wait_for(f"lost-{number}")
    monkeypatch.setattr(loop.engine.runner, "run", run)
    loop.submit(request("fine"))
    heard.wait_for("fine")
    assert isinstance(heard.events[-1], TokenOutput)

    monkeypatch.setattr(loop.engine.runner, "run", broken)
    for number in range(MOST_FAILURES):
        loop.submit(request(f"last-{number}"))
        heard.wait_for(f"last-{number}")
    loop.close()
    assert loop.fault is not None
    with pytest.raises(EngineDead, match="stopped"):
        loop.submit(request("late"))


def test_giving_up_lets_nobody_wait(loops: list[EngineLoop], heard: Heard) -> None:
    loop = loop_of(loops, heard, one_step)
    loop.submit(request("begun"))
    heard.wait_for_a_token("begun")
    loop.fail("the weights are half-way")
    heard.wait_for("begun")

    assert loop.fault == "the weights are half-way"
    with pytest.raises(EngineDead, match="half-way"):
        loop.submit(request("late"))
