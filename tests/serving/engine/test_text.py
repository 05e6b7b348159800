from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.text import TextStream


class Bytes:
    """One token for each byte of UTF-8; a token is often half a character."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        del skip_special_tokens
        return bytes(token_ids).decode(errors="replace")


def said(text: str, **options: object) -> tuple[list[str], TextStream]:
    stream = TextStream(Bytes(), b"before", **options)
    parts = []
    for token in text.encode():
        parts.append(stream.push(token))
        if stream.stopped_by is not None:
            break
    return [*parts, stream.finish()], stream


@given(st.text(max_size=20))
def test_all_text_comes_out_and_no_broken_characters(text: str) -> None:
    if "\N{REPLACEMENT CHARACTER}" in text:
        return
    parts, _ = said(text)

    assert "".join(parts) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_and_nothing_is_taken_back(
    text: str, stops: list[str]
) -> None:
    parts, stream = said(text, stops=stops)
    ends = [at + len(stop) for stop in stops if (at := text.find(stop)) >= 0]
    complete = min(ends, default=None)

    if complete is None:
        assert "".join(parts) == text
        assert stream.stopped_by is None
    else:
        assert stream.stopped_by in stops
        assert "".join(parts) == text[: complete - len(stream.stopped_by)]


def test_the_stop_is_part_of_the_text_if_asked_for() -> None:
    parts, _ = said("so it END goes", stops=["END"], include_stop=True)

    assert "".join(parts) == "so it END"


def test_an_answer_cut_inside_a_character_shows_it() -> None:
    stream = TextStream(Bytes(), b"")

    assert [stream.push(token) for token in "é".encode()[:1]] == [""]
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("text", ["aab", "aaab"])
def test_a_held_back_beginning_can_begin_again(text: str) -> None:
    parts, stream = said(text, stops=["aab"])

    assert "".join(parts) == text[:-3]
    assert stream.stopped_by == "aab"
