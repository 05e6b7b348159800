"""One state for all that differ in nothing that matters (a bisimulation).

Three things mean nothing: what number a key has, which of two actors of one kind is called 1, and
what lies at a key that no encoding, former encoding or actor remembers (only that something does).
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.model.state import GARBAGE, KEYS, Actor, Encoding, Piece, State

Number = tuple[int, ...]
"""The new key of each key."""

AS_THEY_ARE: Number = tuple(range(KEYS))
UNREAD: frozenset[Piece] = frozenset({GARBAGE})


def canonical(state: State) -> State:
    """The state that stands for all that are the same as this one."""
    state = _actors_in_order(state)
    uses = [
        f"{now};{formerly};{''.join(held)}" if now or formerly or any(held) else ""
        for now, formerly, *held in zip(
            _encoded(state.encodings),
            _encoded(state.formers),
            *map(_remembered, state.actors),
            strict=True,
        )
    ]
    store = _without_unread(state.store, tuple(map(bool, uses)))
    order = sorted(zip(uses, _stored(store), _rows(state.objects), AS_THEY_ARE, strict=True))
    number = _inverse(tuple(key for *_, key in order))
    if number == AS_THEY_ARE:
        return state._replace(store=store)
    return state._replace(
        store=_renumbered_pairs(store, number),
        objects=_renumbered_pairs(state.objects, number),
        encodings=_renumbered_encodings(state.encodings, number),
        formers=_renumbered_encodings(state.formers, number),
        actors=tuple(_renumbered_actor(actor, number) for actor in state.actors),
    )


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
def _without_unread(
    store: frozenset[tuple[Any, frozenset[Piece]]], is_read: tuple[bool, ...]
) -> frozenset[tuple[Any, frozenset[Piece]]]:
    return frozenset(
        (key, pieces if not isinstance(key, int) or is_read[key] else UNREAD)
        for key, pieces in store
    )


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
