"""Tokens to text as they come, ended by stop strings; nothing is said that a stop might take back.

A token may be half a character, and decoding depends on neighbours: text is taken from a window of
recent tokens and held back while it ends in an incomplete character (TGI's and vLLM's method).
"""

from collections.abc import Sequence
from typing import Any, Protocol

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
WINDOW = 6
"""Tokens before the first unsaid one that are decoded along with it."""


class Decoder(Protocol):
    """A tokenizer, as far as text is made."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> Any:
        """The text of some tokens."""
        ...


class TextStream:
    """The text of one answer, grown token by token."""

    def __init__(
        self,
        decoder: Decoder,
        prompt: Sequence[int],
        *,
        stops: Sequence[str] = (),
        include_stop: bool = False,
        skip_special_tokens: bool = True,
    ) -> None:
        self._decoder = decoder
        self._stops = stops
        self._include_stop = include_stop
        self._skip_special_tokens = skip_special_tokens
        self._tokens = list(prompt[-WINDOW:])
        self._read = len(self._tokens)
        """Tokens whose text is out or held back for a stop."""
        self._start = 0
        self._held = ""
        self.stopped_by: str | None = None

    def push(self, token: int) -> str:
        """Text that this token lets out; sets ``stopped_by`` when a stop string is complete."""
        self._tokens.append(token)
        before = self._decode(self._start, self._read)
        after = self._decode(self._start, len(self._tokens))
        if after.endswith(REPLACEMENT) or len(after) <= len(before):
            return ""
        self._start, self._read = self._read, len(self._tokens)
        return self._pass(after[len(before) :])

    def finish(self) -> str:
        """What is still held back, at the end of an answer that no stop string ended."""
        if self.stopped_by is not None:
            return ""
        before = self._decode(self._start, self._read)
        rest = self._decode(self._start, len(self._tokens))[len(before) :]
        said, self._held, self._read = self._held + rest, "", len(self._tokens)
        return said

    def _decode(self, start: int, stop: int) -> str:
        return self._decoder.decode(
            self._tokens[start:stop], skip_special_tokens=self._skip_special_tokens
        )

    def _pass(self, text: str) -> str:
        text = self._held + text
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, self.stopped_by = min(found)
            self._held = ""
            return text[: at + len(self.stopped_by) if self._include_stop else at]
        kept = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of ``stop`` that ``text`` ends in."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
