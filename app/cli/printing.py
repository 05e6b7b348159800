"""What a command prints: facts as JSON, or as lines for people."""

import json
from collections.abc import Iterator
from typing import Any


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    """On stdout."""
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print("\n".join(as_lines(facts)))


def as_lines(facts: dict[str, Any]) -> list[str]:
    """Facts for people: a name and a value per line, what is nested indented, no line broken."""
    rows = list(_rows(facts, ""))
    labels = max((len(label) for label, value in rows if value), default=0)
    numbers = max((len(value) for _, value in rows if value[:1].isdigit()), default=0)
    return [
        f"{label:<{labels}}  {value:>{numbers}}".rstrip() if value else label
        for label, value in rows
    ]


def _rows(facts: dict[str, Any], indent: str) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        label = indent + name.replace("_", " ")
        match value:
            case dict():
                yield label, ""
                yield from _rows(value, indent + "  ")
            case [] | None:
                yield label, "none"
            case list():
                yield label, ""
                for item in value:
                    yield f"{indent}  - {_item(item)}", ""
            case bool():
                yield label, "yes" if value else "no"
            case int():
                yield label, f"{value:,}"
            case _:
                yield label, str(value)


def _item(item: object) -> str:
    """One thing of a list in one line: the facts of a problem or of a failed job."""
    if not isinstance(item, dict):
        return str(item)
    texts = (", ".join(value) if isinstance(value, list) else str(value) for value in item.values())
    return ": ".join(text for text in texts if text)
