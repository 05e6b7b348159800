"""The write, swap and delete protocol of docs/durability.md as a transition system.

A transaction is one transition: that it looks under locks, in a statement after them, is what lets
it be one. Every lease and intent may expire at any moment, every actor may crash before any step.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from tests.model.rules import Rule
from tests.model.state import GARBAGE, Actor, Encoding, State

Transition = tuple[str, State]


class Protocol:
    """Everything that may happen next. ``without``: rules that are not kept."""

    def __init__(self, without: Collection[Rule] = ()) -> None:
        self._without = frozenset(without)
        self._acts: dict[str, Callable[[State, int, Actor], Iterator[Transition]]] = {
            "upload": self._upload,
            "encode": self._encode,
            "read": self._read,
            "reap": self._reap,
            "sweep": self._sweep,
        }

    def keeps(self, rule: Rule) -> bool:
        return rule not in self._without

    def steps(self, state: State) -> Iterator[Transition]:
        """Every transition out of a state, by name."""
        for index, actor in enumerate(state.actors):
            for label, then in self._acts[actor.name.split("-")[0]](state, index, actor):
                yield f"{actor.name}: {label}", then
            if actor.step not in ("idle", "end"):
                yield f"{actor.name}: CRASH", state.at(index, "idle")
        yield from self._time(state)
        yield from self._collect(state)

    # --- uploads and commits (W) ---

    def _upload(self, state: State, index: int, actor: Actor) -> Iterator[Transition]:
        match actor.step, actor.memory:
            case "idle", _:
                if self._counts_as_live(state, "X"):
                    yield (
                        "told that X is stored",
                        state.leased("X", actor.name).at(index, "commit"),
                    )
                elif (key := self._new_key(state)) is not None:
                    begun = state.with_object(key, "pending") if self.keeps(Rule.INTENT) else state
                    yield f"intent {key}", begun.at(index, "put", key)
            case "put", (key,):
                yield from self._put(state.at(index, "publish", key), key, ("X", None))
            case "publish", (key,):
                yield from self._publish(state, index, actor, key)
            case "commit", _:
                if self._counts_as_live(state, "X") or not self.keeps(Rule.COMMIT_LOOKS):
                    then = state._replace(refs=state.refs | {(actor.name, "X")})
                    yield "commit", then.released(actor.name).at(index, "idle")
                else:
                    yield "commit refused: send it again", state.at(index, "idle")

    def _publish(self, state: State, index: int, actor: Actor, key: Any) -> Iterator[Transition]:
        if self.keeps(Rule.READ_BACK) and ("X", None) not in (state.bytes_at(key) or ()):
            yield "read back: other bytes", state.at(index, "idle")
            return
        known = state.encoding("X") is not None
        fenced = self.keeps(Rule.FENCE) and self.keeps(Rule.INTENT)
        if not known and fenced and state.object_state(key) != "pending":
            yield "publish refused: the intent is gone", state.at(index, "idle")
            return
        then = state.with_content("X", "live").leased("X", actor.name).at(index, "commit")
        if known:
            kept = then.with_object(key, "retired") if state.object_state(key) else then
            yield "publish: X was here", kept
        else:
            then = then.with_object(key, "live")
            yield f"publish {key}", then.with_encoding("X", Encoding("X", key, None))

    def _put(self, then: State, key: Any, piece: tuple[str, str | None]) -> Iterator[Transition]:
        yield f"put {key}", then.put(key, piece)
        yield f"put {key}, and the store lies", then.put(key, GARBAGE)

    def _new_key(self, state: State) -> Any:
        return state.fresh_key() if self.keeps(Rule.UNIQUE_KEYS) else "name of X"

    def _counts_as_live(self, state: State, content: str) -> bool:
        seen = state.content_state(content)
        return seen == "live" or (seen is not None and not self.keeps(Rule.MARKS_ARE_SEEN))

    # --- encodings (S) ---

    def _encode(self, state: State, index: int, actor: Actor) -> Iterator[Transition]:
        match actor.step, actor.memory:
            case "idle", _:
                content = actor.name[-1]
                for base in ("B" if content == "X" else "X", None):
                    yield from self._claim(state, index, content, base)
            case "put", (key, was, base):
                bases = [] if base is None else [state.encoding(base)]
                if state.decodes(was) and all(map(state.decodes, bases)):
                    then = state.at(index, "prove", key, was, base)
                    yield from self._put(then, key, (was.content, base))
                else:
                    yield "a source is gone", state.at(index, "idle")
            case "prove", (key, was, base):
                if not self.keeps(Rule.PROVE_FIRST) or state.decodes(
                    Encoding(was.content, key, base)
                ):
                    yield "proven", state.at(index, "swap", key, was, base)
                else:
                    yield "it does not decode", state.at(index, "idle")
            case "swap", (key, was, base):
                yield from self._swap(state, index, key, was, base)
            case "swap late", (key, was, base):  # only without OLD_STAYS
                now = Encoding(was.content, key, base)
                yield "swap", state.with_object(key, "live").with_encoding(was.content, now)

    def _claim(
        self, state: State, index: int, content: str, base: str | None
    ) -> Iterator[Transition]:
        was, key = state.encoding(content), state.fresh_key()
        if was is None or was.base == base or key is None:
            return
        if base is not None and (state.encoding(base) is None or state.is_base(content)):
            return
        how = "alone" if base is None else f"against {base}"
        yield (
            f"intent {key}: {content} {how}",
            state.with_object(key, "pending").at(index, "put", key, was, base),
        )

    def _swap(
        self, state: State, index: int, key: Any, was: Encoding, base: str | None
    ) -> Iterator[Transition]:
        content = was.content
        fits = state.encoding(content) == was
        fits = fits and (not self.keeps(Rule.FENCE) or state.object_state(key) == "pending")
        if base is not None and self.keeps(Rule.SWAP_LOOKS):
            on = state.encoding(base)
            fits = fits and on is not None and on.base is None
            fits = fits and self._counts_as_live(state, base) and not state.is_base(content)
        if not fits:
            yield "swap refused", state.at(index, "idle")
            return
        if not self.keeps(Rule.OLD_STAYS):
            yield "old bytes deleted", state.dropped(was.key).at(index, "swap late", key, was, base)
            return
        then = state.with_object(key, "live").with_encoding(content, Encoding(content, key, base))
        then = then._replace(formers=then.formers | {was})
        yield f"swap {content}: {was.key} -> {key}", self._retire(then, was.key).at(index, "idle")

    def _retire(self, state: State, key: Any) -> State:
        if state.object_state(key) != "live":
            return state
        if state.is_used(key) and self.keeps(Rule.RETIRE_LOOKS):
            return state
        return state.with_object(key, "retired")

    # --- readers (R) ---

    def _read(self, state: State, index: int, actor: Actor) -> Iterator[Transition]:
        match actor.step, actor.memory:
            case "idle", _:
                encoding = state.encoding("X")
                if encoding is not None and any(name == "X" for _, name in state.refs):
                    base = encoding.base and state.encoding(encoding.base)
                    plan = (encoding,) if base is None else (encoding, base)
                    yield "plan", state.at(index, "get", plan, ())
            case "get", (plan, got):
                wanted = plan[len(got)]
                pieces = state.bytes_at(wanted.key)
                if pieces is None and self.keeps(Rule.FOLLOW):
                    yield "object gone: asks again", state.at(index, "idle")
                elif pieces is None:
                    yield "object gone: fails", state.at(index, "end", "failed")
                elif wanted.piece not in pieces:
                    yield "other bytes: fails", state.at(index, "end", "failed")
                elif len(got) + 1 < len(plan):
                    yield "get", state.at(index, "get", plan, (*got, True))
                else:
                    yield "done", state.at(index, "end", "read")

    # --- deletion (D) ---

    def _time(self, state: State) -> Iterator[Transition]:
        """Leases and intents run out, users delete."""
        for lease in state.leases:
            yield f"lease {lease} expires", state._replace(leases=state.leases - {lease})
        for key, state_name in state.objects:
            if state_name == "pending":
                yield f"intent {key} expires", state.with_object(key, "retired")
        for ref in state.refs:
            yield f"{ref} is deleted", state._replace(refs=state.refs - {ref})

    def _collect(self, state: State) -> Iterator[Transition]:
        """The transactions of the collector, which remembers nothing in between."""
        for content, content_state in state.contents:
            needed = state.is_base(content) and self.keeps(Rule.BASES_COUNT)
            free = not state.is_referenced(content) and not needed
            if content_state == "live" and free:
                yield f"condemn {content}", state.with_content(content, "condemned")
            if content_state == "condemned" and (free or not self.keeps(Rule.MARKS_ARE_SEEN)):
                yield from self._kill(state, content)

    def _kill(self, state: State, content: str) -> Iterator[Transition]:
        encoding = state.encoding(content)
        if (
            not self.keeps(Rule.ROWS_FIRST)
            and encoding
            and state.bytes_at(encoding.key) is not None
        ):
            yield f"delete the bytes of {content}", state.dropped(encoding.key)
            return
        then = state.with_content(content, None).with_encoding(content, None)
        then = then._replace(
            formers=frozenset(each for each in then.formers if each.content != content)
        )
        yield f"kill {content}", then if encoding is None else self._retire(then, encoding.key)

    def _reap(self, state: State, index: int, actor: Actor) -> Iterator[Transition]:
        match actor.step, actor.memory:
            case "idle", _:
                for key, object_state in state.objects:
                    if object_state == "doomed":
                        yield f"delete {key} again", state.at(index, "delete", key)
                    if object_state == "retired":
                        yield from self._gate(state, index, key)
            case "doom", (key,):
                if not self.keeps(Rule.DOOM):
                    yield f"no doom for {key}", state.at(index, "delete", key)
                elif state.object_state(key) == "retired" and not state.is_used(key):
                    yield f"doom {key}", state.with_object(key, "doomed").at(index, "delete", key)
                else:
                    yield f"{key} is in use again", state.at(index, "idle")
            case "delete", (key,):
                yield f"delete {key}", state.dropped(key).at(index, "forget", key)
            case "forget", (key,):
                then = state.with_object(key, None).at(index, "idle")
                then = then._replace(
                    formers=frozenset(each for each in then.formers if each.key != key)
                )
                yield f"forget {key}", then
            case "put back", (former, now):
                yield from self._put_back(state, index, former, now)

    def _gate(self, state: State, index: int, key: Any) -> Iterator[Transition]:
        """A replacement may look damaged to one reader and sound to another."""
        yield f"replacements of {key} hold", state.at(index, "doom", key)
        for former in state.formers:
            now = state.encoding(former.content)
            if former.key == key and now is not None and state.decodes(former):
                yield f"{now} seems damaged", state.at(index, "put back", former, now)

    def _put_back(
        self, state: State, index: int, former: Encoding, now: Encoding
    ) -> Iterator[Transition]:
        fits = former in state.formers and state.encoding(former.content) == now
        reviving = ("retired",) if self.keeps(Rule.DOOM) else ("retired", "doomed")
        fits = fits and state.object_state(former.key) in reviving
        if former.base is not None and self.keeps(Rule.PUT_BACK_LOOKS):
            on = state.encoding(former.base)
            fits = fits and on is not None and on.base is None
            fits = fits and not state.is_base(former.content)
        if not fits:
            yield "not put back", state.at(index, "idle")
            return
        then = state.with_object(former.key, "live").with_encoding(former.content, former)
        then = then._replace(formers=then.formers - {former})
        yield f"{former} put back", self._retire(then, now.key).at(index, "idle")

    def _sweep(self, state: State, index: int, actor: Actor) -> Iterator[Transition]:
        rows = frozenset(key for key, _ in state.objects)
        listed = frozenset(key for key, _ in state.store)
        first, second = (listed, rows) if self.keeps(Rule.LIST_FIRST) else (rows, listed)
        match actor.step, actor.memory:
            case "idle", _:
                yield "first look", state.at(index, "compare", first)
            case "compare", (seen,):
                then = state
                unknown = seen - second if self.keeps(Rule.LIST_FIRST) else second - seen
                for key in unknown:
                    then = then.with_object(key, "retired")
                yield f"unknown: {sorted(unknown, key=str)}", then.at(index, "idle")
