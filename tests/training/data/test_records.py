"""Bad lines are named by line and field; good ones come as they are."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import records
from training.data.errors import BadData
from training.data.records import read_examples

GOOD_CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def write(path: Path, *lines: object) -> Path:
    file = path / "data.jsonl"
    file.write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in lines))
    return file


def faults(path: Path, *lines: object) -> list[str]:
    with pytest.raises(BadData) as caught:
        read_examples(write(path, *lines))
    assert "data.jsonl cannot be trained on" in str(caught.value)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: is not JSON"),
        ("[1]", "line 2: is a list, not an object"),
        ("[" * 100_000, "line 2: is nested too deeply"),
        ({"question": "x"}, 'line 2: has neither "messages"'),
        ({"text": "x"}, "line 2: is of the form text, the file of the form chat"),
        ({"messages": []}, "line 2, messages: is an empty list, not a list of messages"),
        ({"messages": "hi"}, "line 2, messages: is text"),
        ({"messages": [7]}, "line 2, messages[0]: is a number"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "line 2, messages[0].role: is 'bot'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "line 2, messages[0].role"),
        ({"messages": [{"role": "user"}]}, "line 2, messages[0].content: is missing or null"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content: is a number"),
        (
            {"messages": [{"role": "user", "content": "x"}]},
            "line 2, messages: has no assistant message",
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "weight": 0}]},
            "line 2, messages: has no assistant message",
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]},
            "messages[0].weight: is 0 or 1",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "weight": 1}]},
            "messages[0].weight: is 0 or 1, and of assistant messages only",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]},
            "messages[0].tool_calls",
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "mood": 1}]},
            "line 2, messages[0].mood: is not known",
        ),
        (GOOD_CHAT | {"extra": 1}, "line 2, extra: is not known; there are messages"),
        (GOOD_CHAT | {"tools": "x"}, "line 2, tools: is text"),
    ],
)
def test_what_is_wrong_with_a_chat_is_told(line: object, says: str, tmp_path: Path) -> None:
    told = faults(tmp_path, GOOD_CHAT, line)
    assert any(says in each for each in told), told


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"prompt": "x"}, "line 1, completion: is missing"),
        ({"prompt": 1, "completion": "y"}, "line 1, prompt: is a number"),
        ({"prompt": "x", "completion": ""}, "line 1, completion: is empty"),
        ({"prompt": [{"role": "user", "content": "x"}], "completion": "y"}, "completion: is text"),
        ({"text": ""}, "line 1, text: is empty"),
        ({"text": None}, "line 1, text: is missing or null"),
        ('{"text": "\\ud800"}', "line 1: has half of a surrogate pair"),
        ({"text": "x", "label": "y"}, "line 1, label: is not known; there are text"),
    ],
)
def test_what_is_wrong_with_texts_is_told(line: object, says: str, tmp_path: Path) -> None:
    told = faults(tmp_path, line)
    assert any(says in each for each in told), told


def test_limits_are_told_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_LINE_NBYTES", 1 << 20)
    long = json.dumps({"text": "x" * (3 << 20)})
    assert faults(tmp_path, {"text": "a"}, long, "{") == [
        "line 2: is longer than 1 MiB",
        "line 3: is not JSON: Expecting property name enclosed in double quotes (character 2)",
    ]
    monkeypatch.setattr(records, "MAX_EXAMPLES", 2)
    assert "line 3: more than 2 examples" in faults(tmp_path, *[{"text": "a"}] * 3)[0]
    assert len(faults(tmp_path, *["{"] * 100)) == records.MOST_FAULTS
    assert faults(tmp_path) == ["line 1: the file has no examples"]


def test_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(BadData, match=r"line 2: is not UTF-8 \(byte 10\)"):
        read_examples(file)


def test_forms(tmp_path: Path) -> None:
    form, [chat] = read_examples(write(tmp_path, "", GOOD_CHAT, "  "))
    assert (form, chat.line, chat.learnt) == ("chat", 2, [False, True])
    weighted = [
        {"role": "assistant", "content": "no", "weight": 0},
        {"role": "assistant", "content": "yes", "weight": 1},
    ]
    _, [chat] = read_examples(write(tmp_path, {"messages": weighted}))
    assert chat.learnt == [False, True]
    assert all("weight" not in message for message in chat.messages)
    parts = {"prompt": GOOD_CHAT["messages"], "completion": GOOD_CHAT["messages"][1:]}
    form, [chat] = read_examples(write(tmp_path, parts))
    assert (form, chat.learnt) == ("completion", [False, False, True])
    form, [text] = read_examples(write(tmp_path, {"prompt": "", "completion": "b"}))
    assert (form, text.prompt, text.completion) == ("completion", "", "b")
    form, [text] = read_examples(write(tmp_path, {"text": "b"}))
    assert (form, text.completion) == ("text", "b")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "messages", "prompt", "completion", "text", "weight"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(value=JSON, key=st.sampled_from(["messages", "text", "prompt", "completion", "tools"]))
def test_whatever_comes_is_an_example_or_a_fault(
    value: object, key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.getbasetemp(), {key: value, "completion": "x"})
    with contextlib.suppress(BadData):
        _, [example] = read_examples(path)
        assert example.messages or example.completion
