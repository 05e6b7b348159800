"""One state for all that lead to the same: what keeps exploring finite, and short.

What number a key has means nothing, nor which of two actors of one kind is called 1. And what can
have no effect any more is left out:

- a former encoding that will never be put back, because its bytes are gone, or going for good;
- an encoder whose swap will be refused, because what it began from is neither current nor former,
  or because it was given up on: it can do nothing that an idle one cannot;
- a key that no encoding, former encoding, writer or reader remembers: nobody can refer to it again,
  so all that collectors do with it touches nothing else; nor can one that has it in hand.

A state without these can do whatever the state with them can (it simulates it), so one that breaks
an invariant is not missed. That what is dead goes is looked at apart (``garbage_left``).
"""

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from tests.model.rules import Rule
from tests.model.state import KEYS, Actor, Encoding, Piece, State

Number = tuple[int, ...]
"""The new key of each key."""

AS_THEY_ARE: Number = tuple(range(KEYS))
COLLECTORS = ("reap", "sweep")


def canonical(state: State, without: Collection[Rule] = ()) -> State:
    """The state that stands for all that are the same as this one, where rules are not kept."""
    state = _without_former(state, without)
    state = _actors_in_order(_without_dead(_without_vain(state, without)))
    said = zip(
        _encoded(state.encodings),
        _encoded(state.formers),
        *map(_remembered, state.actors),
        _stored(state.store),
        _rows(state.objects),
        AS_THEY_ARE,
        strict=True,
    )
    used_first = sorted(said, key=lambda each: (not any(each[:-1]), each))
    number = _inverse(tuple(key for *_, key in used_first))
    if number == AS_THEY_ARE:
        return state
    return state._replace(
        store=_renumbered_pairs(state.store, number),
        objects=_renumbered_pairs(state.objects, number),
        encodings=_renumbered_encodings(state.encodings, number),
        formers=_renumbered_encodings(state.formers, number),
        actors=tuple(_renumbered_actor(actor, number) for actor in state.actors),
    )


def _without_former(state: State, without: Collection[Rule]) -> State:
    if not state.formers:
        return state
    rows, store = dict(state.objects), dict(state.store)
    gone = {None} if Rule.DOOM in without else {None, "doomed"}
    formers = frozenset(
        each
        for each in state.formers
        if rows.get(each.key) not in gone and each.piece in store.get(each.key, ())
    )
    return state._replace(formers=formers)


def _without_vain(state: State, without: Collection[Rule]) -> State:
    actors = tuple(
        Actor(actor.name) if _is_vain(state, actor, without) else actor for actor in state.actors
    )
    return state._replace(actors=actors)


def _is_vain(state: State, actor: Actor, without: Collection[Rule]) -> bool:
    """Whether an encoder's swap will be refused, whatever happens."""
    if not actor.name.startswith("encode") or actor.step not in ("put", "prove", "swap"):
        return False
    key, was, _ = actor.memory
    if was not in state.encodings and was not in state.formers:
        return True
    return Rule.FENCE not in without and state.object_state(key) != "pending"


def _without_dead(state: State) -> State:
    alive = _keys_of(state.encodings) | _keys_of(state.formers)
    alive |= frozenset().union(*map(_held, state.actors))
    actors = tuple(_without_keys(actor, alive) for actor in state.actors)
    return state._replace(
        store=_pairs_of(state.store, alive),
        objects=_pairs_of(state.objects, alive),
        actors=actors,
    )


@cache
def _keys_of(encodings: frozenset[Encoding]) -> frozenset[Any]:
    return frozenset(each.key for each in encodings)


@cache
def _held(actor: Actor) -> frozenset[int]:
    """Keys that a writer or reader remembers."""
    if actor.name.startswith(COLLECTORS):
        return frozenset()
    return frozenset(key for _, key in _placed(actor.memory))


@cache
def _pairs_of(pairs: frozenset[tuple[Any, Any]], alive: frozenset[Any]) -> frozenset[Any]:
    return frozenset(pair for pair in pairs if _is_alive(pair[0], alive))


@cache
def _without_keys(actor: Actor, alive: frozenset[Any]) -> Actor:
    """A collector without the dead keys of its memory."""
    match actor.name.partition("-")[0], actor.memory:
        case "sweep", (seen,):
            kept = frozenset(key for key in seen if _is_alive(key, alive))
            return actor._replace(memory=(kept,))
        case "reap", (first, *_):
            key = first.key if isinstance(first, Encoding) else first
            return actor if _is_alive(key, alive) else Actor(actor.name)
        case _:
            return actor


def _is_alive(key: Any, alive: frozenset[Any]) -> bool:
    """Keys that are used twice, which rule W4 forbids, never die."""
    return key in alive or not isinstance(key, int)


# --- which is which: what a state says of each key, but for the key itself ---


@cache
def _encoded(encodings: frozenset[Encoding]) -> tuple[str, ...]:
    said: list[list[str]] = [[] for _ in AS_THEY_ARE]
    for each in encodings:
        if isinstance(each.key, int):
            said[each.key].append(f"{each.content}<{each.base}")
    return tuple(",".join(sorted(each)) for each in said)


@cache
def _remembered(actor: Actor) -> tuple[str, ...]:
    said = [""] * KEYS
    for place, key in _placed(actor.memory):
        said[key] += f"{actor.name}{place}"
    return tuple(said)


@cache
def _stored(store: frozenset[tuple[Any, frozenset[Piece]]]) -> tuple[str, ...]:
    said = {key: ",".join(sorted(map(str, pieces))) for key, pieces in store}
    return tuple(said.get(key, "") for key in AS_THEY_ARE)


@cache
def _rows(objects: frozenset[tuple[Any, str]]) -> tuple[str, ...]:
    said = dict(objects)
    return tuple(said.get(key, "") for key in AS_THEY_ARE)


def _placed(memory: Any, place: str = "") -> Iterator[tuple[str, int]]:
    """Keys that an actor remembers, each with where; what it remembers as a set has no order."""
    if isinstance(memory, tuple):
        for at, each in enumerate(memory):
            yield from _placed(each, f"{place}.{at}")
    elif isinstance(memory, frozenset):
        for each in memory:
            yield from _placed(each, f"{place}.any")
    elif isinstance(memory, int) and not isinstance(memory, bool):
        yield place, memory


# --- the same, otherwise numbered or named ---


@cache
def _inverse(order: tuple[int, ...]) -> Number:
    return tuple(order.index(key) for key in AS_THEY_ARE)


@cache
def _renumbered_pairs(pairs: frozenset[tuple[Any, Any]], number: Number) -> frozenset[Any]:
    return frozenset((_renumbered(key, number), value) for key, value in pairs)


@cache
def _renumbered_encodings(encodings: frozenset[Encoding], number: Number) -> frozenset[Encoding]:
    return frozenset(_renumbered(each, number) for each in encodings)


@cache
def _renumbered_actor(actor: Actor, number: Number) -> Actor:
    return actor._replace(memory=_renumbered(actor.memory, number))


def _renumbered(memory: Any, number: Number) -> Any:
    if isinstance(memory, Encoding):
        return memory._replace(key=_renumbered(memory.key, number))
    if isinstance(memory, tuple):
        return tuple(_renumbered(each, number) for each in memory)
    if isinstance(memory, frozenset):
        return frozenset(_renumbered(each, number) for each in memory)
    is_key = isinstance(memory, int) and not isinstance(memory, bool)
    return number[memory] if is_key else memory


def _actors_in_order(state: State) -> State:
    """Those of one kind in the order of where they stand, whatever they were called."""
    for start, stop in _alike(tuple(actor.name for actor in state.actors)):
        alike = state.actors[start:stop]
        order = sorted(alike, key=lambda actor: _stand(state, actor))
        if order != list(alike):
            state = _renamed(
                state, {was.name: now.name for was, now in zip(order, alike, strict=True)}
            )
            moved = (was._replace(name=now.name) for was, now in zip(order, alike, strict=True))
            state = state._replace(actors=(*state.actors[:start], *moved, *state.actors[stop:]))
    return state


@cache
def _alike(names: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where several of one kind stand side by side: their names differ in a number only."""
    kinds = [name.rstrip("0123456789") for name in names]
    spans = {(kinds.index(kind), kinds.index(kind) + kinds.count(kind)) for kind in kinds}
    return [(start, stop) for start, stop in spans if stop - start > 1]


def _renamed(state: State, names: dict[str, str]) -> State:
    return state._replace(
        refs=frozenset((names.get(repo, repo), content) for repo, content in state.refs),
        leases=frozenset((content, names.get(holder, holder)) for content, holder in state.leases),
    )


def _stand(state: State, actor: Actor) -> tuple[Any, ...]:
    return (
        actor.step,
        _shape(actor.memory),
        (actor.name, "X") in state.refs,
        ("X", actor.name) in state.leases,
    )


@cache
def _shape(memory: Any) -> str:
    """What an actor remembers, keys left out."""
    return str(_renumbered(memory, (0,) * KEYS))
