"""docs/limits.md tells every bound that a client meets, and every limit has an error naming it."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from app.settings import Limits, Quotas, Rates, Settings, Timers
from chat.bounds import Bounds

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
REFUSE_NOTHING = {"header_inline_nbytes", "tensors_per_file", "scan_nbytes"}
"""Beyond them something is done otherwise; see the page."""

DECIDE = {"lfs_multipart_nbytes", "lfs_part_nbytes", "regular_nbytes"}
"""They choose a way of sending."""


OPERATORS = {"", "jobs", "tuning", "mirror"}
"""Groups that bound what the operator's own programs do, told in ``app.settings``."""


def groups(model: type[BaseModel], name: str = "") -> dict[str, list[str]]:
    """Numbers among the settings, by group."""
    found: dict[str, list[str]] = {}
    for field_name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= groups(field.annotation, field_name)
        elif "int" in str(field.annotation) or "float" in str(field.annotation):
            found.setdefault(name, []).append(field_name)
    return found


def default_of(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int | float) else str(value)


@pytest.mark.parametrize(
    ("group", "model"),
    [
        ("limits", Limits),
        ("timers", Timers),
        ("rates", Rates),
        ("quotas", Quotas),
        ("templates", Bounds),
    ],
)
def test_the_page_has_every_setting_and_no_other(group: str, model: type) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{group}.")]
    expected = [
        f"| `{group}.{name}` | {default_of(field.default)} | {field.description} |"
        for name, field in model.model_fields.items()
    ]
    assert rows == expected


def test_no_group_of_bounds_is_forgotten() -> None:
    told = {"limits", "timers", "rates", "quotas"}
    assert groups(Settings).keys() == told | OPERATORS


@pytest.mark.parametrize("name", sorted(Limits.model_fields.keys() - REFUSE_NOTHING - DECIDE))
def test_every_limit_is_named_by_its_error(name: str) -> None:
    assert f'setting="limits.{name}"' in SOURCE or f"limits.{name})" in SOURCE
