"""The shape of the tree is a promise; these tests keep it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "chat", "client", "codec", "serving", "training", "workers")
CODE = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 80
EMPTY_NAMES = {"utils", "util", "helpers", "misc", "common", "manager", "handler"}
MAY_COMMIT = {"app/db/database.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_module_is_small_named_and_explained(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)

    assert source.count("\n") <= MAX_MODULE_LINES, "split this module"
    assert ast.get_docstring(tree), "say in one sentence what this module is for"
    assert path.stem not in EMPTY_NAMES, "name the thing, not the fact that it helps"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} is {length} lines"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("session.commit"):
            assert name_of(path) in MAY_COMMIT, "the unit of work commits, nothing else does"


def test_environment_is_read_in_settings_only() -> None:
    readers = [
        name_of(path)
        for path in CODE
        if path.is_relative_to(ROOT / "app")
        and any(word in path.read_text() for word in ("os.environ", "os.getenv"))
    ]

    assert readers == ["app/settings.py"]


def test_importing_the_hub_loads_neither_torch_nor_numba() -> None:
    script = (
        "import sys, app.main; print([m for m in ('torch', 'numba', 'celery') if m in sys.modules])"
    )

    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert out.stdout.strip() == "[]"


def test_every_setting_is_documented() -> None:
    from app.mirror_settings import Mirror
    from app.settings import Jobs, Limits, Quotas, Rates, Settings, Timers
    from app.training_settings import Tuning
    from chat.bounds import Bounds

    for model in (Settings, Limits, Timers, Jobs, Rates, Quotas, Mirror, Tuning, Bounds):
        for name, field in model.model_fields.items():
            nested = (
                name in {"limits", "timers", "jobs", "rates", "quotas", "mirror", "tuning"}
                and model is Settings
            )
            assert nested or field.description, f"{model.__name__}.{name}"
