"""Lines of JSONL as examples, every field checked before anything is trained.

Three forms, one to a file: chats (``messages``, as OpenAI has them, with ``weight`` 0 or 1 and
``tools``), ``prompt`` with ``completion`` (texts, or messages each, as TRL has them), and ``text``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.data.errors import BadData, Fault

Form = Literal["chat", "completion", "text"]

FIELDS: dict[Form, tuple[frozenset[str], frozenset[str]]] = {
    "chat": (frozenset({"messages"}), frozenset({"tools", "parallel_tool_calls"})),
    "completion": (frozenset({"prompt", "completion"}), frozenset({"tools"})),
    "text": (frozenset({"text"}), frozenset()),
}
"""Fields that an example must have, and those it may have."""
MESSAGE_FIELDS = frozenset({"role", "content", "name", "weight", "tool_calls", "tool_call_id"})
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
MAX_LINE_NBYTES = 16 << 20
MAX_EXAMPLES = 2_000_000
MOST_FAULTS = 20
"""After so many nobody reads on."""


@dataclass(frozen=True, slots=True)
class Example:
    """One example. ``messages`` and the ``learnt`` ones among them, or plain text in two parts.

    Of plain text ``prompt`` is not learnt; it is empty where all is.
    """

    line: int
    messages: Sequence[Mapping[str, Any]] = ()
    learnt: Sequence[bool] = ()
    tools: Sequence[Mapping[str, Any]] | None = None
    prompt: str = ""
    completion: str = ""

    @property
    def is_chat(self) -> bool:
        """Whether a chat template renders it."""
        return bool(self.messages)


def read_examples(path: Path) -> tuple[Form, list[Example]]:
    """All examples of a file. Raises BadData with line and field; OSError."""
    faults: list[Fault] = []
    examples: list[Example] = []
    form: Form | None = None
    for number, raw in _lines(path):
        reader = _Line(number)
        record = reader.parse(raw)
        if record is not None:
            own = _form_of(record)
            if own is None:
                reader.fault("", 'has neither "messages" nor "prompt" and "completion" nor "text"')
            elif form is not None and own != form:
                reader.fault("", f"is of the form {own}, the file of the form {form}")
            else:
                form = own
                examples.append(reader.example(record, own))
        faults += reader.faults
        if len(examples) > MAX_EXAMPLES:
            faults.append(Fault(number, "", f"more than {MAX_EXAMPLES:,} examples; split the file"))
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise BadData(path.name, faults[:MOST_FAULTS])
    if form is None:
        raise BadData(path.name, [Fault(1, "", "the file has no examples")])
    return form, examples


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers; of one that is too long the beginning."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_NBYTES + 1):
            number += 1
            is_cut = len(raw) > MAX_LINE_NBYTES and not raw.endswith(b"\n")
            if raw.strip():
                yield number, raw
            while is_cut and (rest := file.readline(MAX_LINE_NBYTES)):
                is_cut = not rest.endswith(b"\n")


def _form_of(record: Mapping[str, Any]) -> Form | None:
    if "messages" in record:
        return "chat"
    if "prompt" in record or "completion" in record:
        return "completion"
    return "text" if "text" in record else None


class _Line:
    """Checks one line and remembers what is wrong with it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.faults: list[Fault] = []

    def fault(self, field: str, says: str) -> None:
        self.faults.append(Fault(self.number, field, says))

    def parse(self, raw: bytes) -> dict[str, Any] | None:
        if len(raw) > MAX_LINE_NBYTES:
            self.fault("", f"is longer than {MAX_LINE_NBYTES >> 20} MiB")
            return None
        try:
            record = json.loads(raw.decode("utf-8-sig" if self.number == 1 else "utf-8"))
            if b"\\ud" in raw.lower():
                json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            self.fault("", "has half of a surrogate pair, which is no character")
        except UnicodeDecodeError as error:
            self.fault("", f"is not UTF-8 (byte {error.start})")
        except json.JSONDecodeError as error:
            self.fault("", f"is not JSON: {error.msg} (character {error.pos + 1})")
        except RecursionError:
            self.fault("", "is nested too deeply")
        else:
            if isinstance(record, dict):
                return record
            self.fault("", f"is {_kind(record)}, not an object")
        return None

    def example(self, record: Mapping[str, Any], form: Form) -> Example:
        needed, allowed = FIELDS[form]
        for name in sorted(needed - record.keys()):
            self.fault(name, "is missing")
        for name in sorted(record.keys() - needed - allowed):
            self.fault(name, f"is not known; there are {', '.join(sorted(needed | allowed))}")
        tools = self.tools(record.get("tools"))
        if form == "chat":
            return self.chat(self.messages(record.get("messages"), "messages"), tools)
        if form == "text":
            return Example(self.number, completion=self.text(record, "text"))
        prompt, completion = record.get("prompt"), record.get("completion")
        if isinstance(prompt, list) or isinstance(completion, list):
            asked = self.messages(prompt, "prompt")
            told = self.messages(completion, "completion")
            learnt = [False] * len(asked) + [each.get("role") == "assistant" for each in told]
            return self.checked([*asked, *told], learnt, tools, "completion")
        if "prompt" in record and not isinstance(prompt, str):
            self.fault("prompt", f"is {_kind(prompt)}, not text")
        return Example(
            self.number,
            prompt=prompt if isinstance(prompt, str) else "",
            completion=self.text(record, "completion"),
        )

    def chat(
        self, messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> Example:
        learnt = [
            each.get("role") == "assistant" and each.get("weight", 1) != 0 for each in messages
        ]
        return self.checked(messages, learnt, tools, "messages")

    def checked(
        self,
        messages: list[dict[str, Any]],
        learnt: list[bool],
        tools: Sequence[Mapping[str, Any]] | None,
        field: str,
    ) -> Example:
        if messages and not any(learnt) and not self.faults:
            self.fault(field, "has no assistant message to learn from")
        plain = [{k: v for k, v in each.items() if k != "weight"} for each in messages]
        return Example(self.number, messages=plain, learnt=learnt, tools=tools)

    def messages(self, value: Any, field: str) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value:
            self.fault(field, f"is {_kind(value)}, not a list of messages")
            return []
        for place, message in enumerate(value):
            at = f"{field}[{place}]"
            if isinstance(message, dict):
                self.message(message, at)
            else:
                self.fault(at, f"is {_kind(message)}, not a message")
        return [message for message in value if isinstance(message, dict)]

    def message(self, message: Mapping[str, Any], at: str) -> None:
        for name in sorted(message.keys() - MESSAGE_FIELDS):
            self.fault(f"{at}.{name}", "is not known")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or role not in ROLES:
            self.fault(f"{at}.role", f"is {role!r}, not one of {', '.join(sorted(ROLES))}")
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and calls and role == "assistant"):
            self.fault(f"{at}.tool_calls", "is a list of calls, of an assistant")
        if not isinstance(content, str) and not (content is None and calls):
            self.fault(f"{at}.content", f"is {_kind(content)}, not text")
        if "weight" in message and (
            role != "assistant"
            or isinstance(message["weight"], bool)
            or message["weight"] not in (0, 1)
        ):
            self.fault(f"{at}.weight", "is 0 or 1, and of assistant messages only")

    def text(self, record: Mapping[str, Any], field: str) -> str:
        value = record.get(field)
        if isinstance(value, str) and value:
            return value
        if field in record:
            self.fault(field, "is empty" if value == "" else f"is {_kind(value)}, not text")
        return ""

    def tools(self, value: Any) -> Sequence[Mapping[str, Any]] | None:
        if value is None or (isinstance(value, list) and all(isinstance(t, dict) for t in value)):
            return value
        self.fault("tools", f"is {_kind(value)}, not a list of tools")
        return None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an empty list", str: "text", bool: "a truth value"}
    if value is None:
        return "missing or null"
    if isinstance(value, list) and value:
        return "a list"
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")
