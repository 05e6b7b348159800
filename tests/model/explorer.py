"""Explicit-state exploration: every state that a scenario can reach, breadth first."""

import struct
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tests.model.protocol import Protocol
from tests.model.rules import Rule
from tests.model.sameness import canonical
from tests.model.state import Actor, Encoding, State

DRAINED_EVERY = 50
"""After one of so many steps a collector runs alone to the end, to see that no garbage stays."""


@dataclass(frozen=True)
class Verdict:
    """How an exploration ended."""

    states: int
    complete: bool
    """Whether there was no state left."""
    violation: str | None = None
    path: tuple[str, ...] = ()
    """Transitions that lead to it, as few as possible."""


@dataclass(frozen=True)
class Scenario:
    """Who acts, on what."""

    start: State
    actors: tuple[str, ...]


def _start(**committed: Encoding) -> State:
    """X and B, where given, stored and committed; nothing else."""
    state = State(*[frozenset()] * 7, ())  # type: ignore[arg-type]
    for content, encoding in committed.items():
        there = state.bytes_at(encoding.key) or frozenset()
        state = state.put(encoding.key, *there, encoding.piece).with_object(encoding.key, "live")
        state = state.with_content(content, "live").with_encoding(content, encoding)
        state = state._replace(refs=state.refs | {("repo", content)})
    return state


EMPTY = _start()
APART = _start(X=Encoding("X", 0, None), B=Encoding("B", 1, None))
PACKED = _start(X=Encoding("X", 0, None), B=Encoding("B", 0, None))
FORMER = Encoding("X", 2, "B")
MOVED = APART.put(2, FORMER.piece).with_object(2, "retired")._replace(formers=frozenset({FORMER}))
"""X was a delta against B until a moment ago."""

SCENARIOS = {
    "two uploads of the same bytes": Scenario(EMPTY, ("upload-1", "upload-2", "reap-1")),
    "an upload and a reader": Scenario(EMPTY, ("upload-1", "read-1", "reap-1")),
    "an upload and a sweep": Scenario(EMPTY, ("upload-1", "sweep-1", "reap-1")),
    "an upload and an encoder": Scenario(APART, ("upload-1", "encode-X", "reap-1")),
    "an encoder and a reader": Scenario(APART, ("encode-X", "read-1", "reap-1")),
    "two encoders of one pack": Scenario(PACKED, ("encode-X", "encode-B", "reap-1")),
    "two collectors of a former form": Scenario(MOVED, ("reap-1", "reap-2")),
    "an encoder and a collector of a former form": Scenario(MOVED, ("encode-B", "reap-1")),
}


def explore(scenario: Scenario, *, without: Collection[Rule] = (), at_most: int = 10**9) -> Verdict:
    """Visit states, nearest first, until one is wrong, all were seen or so many were."""
    protocol, codes = Protocol(without), _Codes()
    actors = tuple(map(Actor, scenario.actors))
    first = codes.code(canonical(scenario.start._replace(actors=actors), without))
    came_from: dict[bytes, bytes | None] = {first: None}
    waiting = deque([first])
    seen = taken = 0
    while waiting and seen < at_most:
        code = waiting.popleft()
        state = codes.state(code)
        seen += 1
        fault = fault_of(state)
        for label, then in protocol.steps(state) if fault is None else ():
            reached = codes.code(canonical(then, without))
            if reached not in came_from:
                came_from[reached] = code
                waiting.append(reached)
            taken += 1
            if not without and taken % DRAINED_EVERY == 0:
                left = garbage_left(protocol, then)
                fault = left and f"{left}, after {label}"
        if fault is not None:
            path = tuple(_path(protocol, codes, came_from, code, without))
            return Verdict(seen, complete=False, violation=fault, path=path)
    return Verdict(seen, complete=not waiting)


class _Codes:
    """States as few bytes, for a million of them to fit: each part is kept once, and numbered."""

    def __init__(self) -> None:
        self._parts: list[list[object]] = [[] for _ in State._fields]
        self._numbers: list[dict[object, int]] = [{} for _ in State._fields]
        self._pack = struct.Struct(f"<{len(State._fields)}I")

    def code(self, state: State) -> bytes:
        return self._pack.pack(*map(self._number, self._numbers, self._parts, state))

    def state(self, code: bytes) -> State:
        numbers = self._pack.unpack(code)
        return State(*(parts[at] for parts, at in zip(self._parts, numbers, strict=True)))

    @staticmethod
    def _number(numbers: dict[object, int], parts: list[object], part: object) -> int:
        number = numbers.setdefault(part, len(parts))
        if number == len(parts):
            parts.append(part)
        return number


def fault_of(state: State) -> str | None:
    """The invariant that a state breaks, if it does."""
    for repo, content in state.refs:
        if state.content_state(content) is None:
            return f"DANGLING: {repo} shows {content}, which has no row"
        if not state.decodes(state.encoding(content)):
            return f"LOST: {repo} shows {content}, which does not decode"
    for encoding in state.encodings:
        if state.object_state(encoding.key) != "live":
            return f"DEAD OBJECT: {encoding} lies in one that is {state.object_state(encoding.key)}"
        base = encoding.base and state.encoding(encoding.base)
        if encoding.base is not None and (base is None or base.base is not None):
            return f"DEPTH: the base of {encoding} does not stand alone"
    for actor in state.actors:
        if actor.step == "end" and actor.memory == ("failed",) and _is_shown(state):
            return f"READER FAILED: {actor.name}, on a file that exists"
    return None


def garbage_left(protocol: Protocol, state: State) -> str | None:
    """Whether something stays when everybody is gone, time passes and a collector runs alone."""
    alone = (Actor("sweep-0"), Actor("reap-0"))
    state = state._replace(actors=alone, leases=frozenset())
    while then := next(_collector_steps(protocol, state), None):
        state = then
    needed = {each.key for each in state.encodings}
    kept = {content for content, _ in state.contents}
    shown = {content for _, content in state.refs}
    bases = {each.base for each in state.encodings}
    if {key for key, _ in state.store} != needed or not kept <= shown | bases:
        return f"GARBAGE stays: {state}"
    return None


def _collector_steps(protocol: Protocol, state: State) -> Iterator[State]:
    """Steps that change something and lead towards the end."""
    keys, rows = {key for key, _ in state.store}, {key for key, _ in state.objects}
    for label, then in protocol.steps(state):
        if any(word in label for word in ("CRASH", "is deleted", "damaged", "put back")):
            continue
        if label.startswith("sweep") and keys <= rows:
            continue
        yield then


def _is_shown(state: State) -> bool:
    return any(content == "X" for _, content in state.refs)


def _path(
    protocol: Protocol,
    codes: _Codes,
    came_from: dict[bytes, bytes | None],
    code: bytes,
    without: Collection[Rule],
) -> list[str]:
    """Labels of the transitions that lead to a state."""
    labels: list[str] = []
    while (before := came_from[code]) is not None:
        steps = protocol.steps(codes.state(before))
        reached = ((label, codes.code(canonical(then, without))) for label, then in steps)
        labels.append(next(label for label, then in reached if then == code))
        code = before
    return labels[::-1]
