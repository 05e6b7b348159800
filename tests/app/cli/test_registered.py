"""Commands that another distribution registers: listed without its code, run with it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.command import Clade

POINTS = """[clade.commands]
elsewhere-greet = elsewhere.greeting:greet
elsewhere-group = elsewhere.group:app
elsewhere-light = elsewhere.heavy:app [torch]
elsewhere-gone = elsewhere_gone.cli:app
stats = elsewhere.greeting:greet
"""
GREETING = '''"""Greet somebody
politely.

More than that nobody needs to know.
"""

def greet(name: str, loud: bool = False) -> None:
    """Greet NAME."""
    print(f"good morning, {name}" + "!" * loud)
'''
GROUP = '''"""Two commands in one."""
import typer

app = typer.Typer(no_args_is_help=True)


@app.command()
def one() -> None:
    print("one")


@app.command()
def two() -> None:
    raise typer.Exit(3)
'''
HEAVY = '"""Needs much."""\nimport package_that_nobody_has.part\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a distribution is installed that registers commands."""
    site = tmp_path / "site"
    facts = site / "elsewhere-1.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(POINTS)
    package = site / "elsewhere"
    package.mkdir()
    for name, source in (("greeting", GREETING), ("group", GROUP), ("heavy", HEAVY)):
        (package / f"{name}.py").write_text(source)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(site))
    return site


def test_functions_and_applications_run_as_commands(clade: Clade) -> None:
    assert clade("elsewhere-greet", "Ann", "--loud").out == "good morning, Ann!\n"
    assert clade("elsewhere-group", "one").out == "one\n"
    assert clade("elsewhere-group", "two").status == 3
    assert "Usage: clade elsewhere-greet" in clade("elsewhere-greet", "--help").out
    assert clade("elsewhere-greet").status == 2


def test_help_tells_what_modules_say_of_themselves(clade: Clade) -> None:
    shown = clade("--help").out

    assert "Greet somebody politely." in shown
    assert "More than that" not in shown
    assert "Two commands in one." in shown
    assert "Needs much." in shown
    assert "elsewhere-gone" in shown


def test_missing_package_is_named_with_its_remedy(clade: Clade) -> None:
    complaint = clade("elsewhere-light").complaint

    assert "`clade elsewhere-light` needs package_that_nobody_has" in complaint
    assert "pip install 'clade[torch]'" in complaint
    assert "elsewhere_gone" in clade("elsewhere-gone").complaint


def test_nobody_takes_a_command_of_the_hub(clade: Clade, hub_data: Path) -> None:
    assert "stored_bytes" in clade("stats", "--data", hub_data, "--json").facts


def test_help_imports_no_command_and_nothing_heavy(elsewhere: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(elsewhere)!r})
sys.argv = ["clade", "--help"]
from app.cli import main
try:
    main()
finally:
    heavy = ("elsewhere.group", "client.cli", "sqlalchemy", "numpy", "fastapi", "httpx", "torch")
    print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""

    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
