"""What the model of the protocol knows: the database, the store, and where every actor stands.

Two contents: ``X``, and ``B`` that may be its base or become a delta against it.
"""

from typing import Any, NamedTuple, Self

Piece = tuple[str, str | None]
"""A content as it lies in an object: plain (None), or as a delta against a base."""

GARBAGE: Piece = ("?", None)
"""What a store returns that did not keep what it was given."""


class Encoding(NamedTuple):
    """Where a content lies, now or formerly."""

    content: str
    key: int | str
    base: str | None

    @property
    def piece(self) -> Piece:
        return self.content, self.base


class Actor(NamedTuple):
    """A process: what it does next and what it remembers. A crash forgets both."""

    name: str
    step: str = "idle"
    memory: tuple[Any, ...] = ()


class State(NamedTuple):
    """One moment. Everything but the actors survives a crash."""

    store: frozenset[tuple[Any, frozenset[Piece]]]
    objects: frozenset[tuple[Any, str]]
    """Key and state: pending, live, retired, doomed."""
    contents: frozenset[tuple[str, str]]
    """Name and state: live, condemned."""
    encodings: frozenset[Encoding]
    formers: frozenset[Encoding]
    refs: frozenset[tuple[str, str]]
    """Repository and content: what a commit shows."""
    leases: frozenset[tuple[str, str]]
    """Content and holder."""
    actors: tuple[Actor, ...]

    def bytes_at(self, key: Any) -> frozenset[Piece] | None:
        return dict(self.store).get(key)

    def object_state(self, key: Any) -> str | None:
        return dict(self.objects).get(key)

    def content_state(self, content: str) -> str | None:
        return dict(self.contents).get(content)

    def encoding(self, content: str) -> Encoding | None:
        return next((each for each in self.encodings if each.content == content), None)

    def is_base(self, content: str) -> bool:
        return any(each.base == content for each in self.encodings)

    def is_used(self, key: Any) -> bool:
        return any(each.key == key for each in self.encodings)

    def is_referenced(self, content: str) -> bool:
        return any(name == content for _, name in self.refs) or any(
            name == content for name, _ in self.leases
        )

    def decodes(self, encoding: Encoding | None, seen: tuple[str, ...] = ()) -> bool:
        """Whether a reader gets the content's bytes from this encoding."""
        if encoding is None or encoding.content in seen:
            return False
        if encoding.piece not in (self.bytes_at(encoding.key) or ()):
            return False
        if encoding.base is None:
            return True
        return self.decodes(self.encoding(encoding.base), (*seen, encoding.content))

    def put(self, key: Any, *pieces: Piece) -> Self:
        others = {each for each in self.store if each[0] != key}
        return self._replace(store=frozenset(others | {(key, frozenset(pieces))}))

    def dropped(self, key: Any) -> Self:
        return self._replace(store=frozenset(each for each in self.store if each[0] != key))

    def with_object(self, key: Any, state: str | None) -> Self:
        others = {each for each in self.objects if each[0] != key}
        added = set() if state is None else {(key, state)}
        return self._replace(objects=frozenset(others | added))

    def with_content(self, content: str, state: str | None) -> Self:
        others = {each for each in self.contents if each[0] != content}
        added = set() if state is None else {(content, state)}
        return self._replace(contents=frozenset(others | added))

    def with_encoding(self, content: str, encoding: Encoding | None) -> Self:
        others = {each for each in self.encodings if each.content != content}
        added = set() if encoding is None else {encoding}
        return self._replace(encodings=frozenset(others | added))

    def leased(self, content: str, holder: str) -> Self:
        return self._replace(leases=self.leases | {(content, holder)})

    def released(self, holder: str) -> Self:
        return self._replace(leases=frozenset(e for e in self.leases if e[1] != holder))

    def at(self, index: int, step: str, *memory: Any) -> Self:
        """The actor of this index goes on to a step, with this memory."""
        actor = self.actors[index]._replace(step=step, memory=memory)
        return self._replace(actors=(*self.actors[:index], actor, *self.actors[index + 1 :]))

    def fresh_key(self) -> int | None:
        """A key that nothing knows; None while too many are in play.

        One that is forgotten everywhere may stand for a new one: keys mean nothing.
        """
        used = {key for key, _ in self.store} | {key for key, _ in self.objects}
        used |= {each.key for each in self.encodings | self.formers}
        used |= {key for actor in self.actors for key in _keys(actor.memory)}
        return next((key for key in range(KEYS) if key not in used), None)


KEYS = 5


def _keys(memory: Any) -> list[int]:
    """Keys that an actor remembers."""
    if isinstance(memory, tuple | frozenset):
        return [key for each in memory for key in _keys(each)]
    return [memory] if isinstance(memory, int) and not isinstance(memory, bool) else []
