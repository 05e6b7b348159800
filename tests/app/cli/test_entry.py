"""What all commands share: facts for people and programs, faults in one line."""

from pathlib import Path

import pytest

from tests.fixtures.command import Clade


@pytest.mark.parametrize("command", ["jobs", "stats", "fsck", "gc", "reencode"])
def test_directory_without_a_hub_is_named_and_left_alone(
    clade: Clade, tmp_path: Path, command: str
) -> None:
    assert str(tmp_path / "none") in clade(command, "--data", tmp_path / "none").complaint
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["jobs", "stats", "fsck", "gc", "reencode"])
def test_facts_are_for_people_and_for_programs(clade: Clade, pushed: Path, command: str) -> None:
    told, shown = (
        clade(command, "--data", pushed, "--json"),
        clade(command, "--data", pushed),
    )

    assert told.status == shown.status == 0
    assert told.err == shown.err == ""
    for name in told.facts:
        assert name.replace("_", " ") in shown.out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CLADE_JOBS__THREADS", "many", "CLADE_JOBS__THREADS"),
        ("CLADE_DATABSE_URL", "x", "CLADE_DATABSE_URL is no setting of the hub; did you mean"),
        ("CLADE_JOBS__THREDS", "1", "did you mean CLADE_JOBS__THREADS?"),
        ("CLADE_XYZZY", "1", "clade: CLADE_XYZZY is no setting of the hub"),
        ("CLADE_STORE_URL", "ftp://host/", "CLADE_STORE_URL"),
        ("CLADE_DATABASE_URL", "nonsense", "database"),
        ("CLADE_DATABASE_URL", "postgresql://ann:geheim@127.0.0.1:1/hub", "database"),
    ],
)
def test_bad_settings_are_named_in_one_line(
    clade: Clade, hub_data: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)

    complaint = clade("stats", "--data", hub_data).complaint

    assert said in complaint
    assert "geheim" not in complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["stats", "--nope"],
        ["serve", "--port", "http"],
        ["serve", "--port", "65536"],
        ["pull", "ann/toy"],
        ["user", "create"],
        ["user", "create", "bo", "--role", "root"],
    ],
)
def test_bad_arguments_are_usage_errors(clade: Clade, arguments: list[str]) -> None:
    done = clade(*arguments)
    assert (done.status, done.out) == (2, "")
    assert "Usage: clade" in done.err
