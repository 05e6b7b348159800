"""`clade sim slo`, run as users run it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from serving.cli.sim import app

TRACE = "\n".join(
    ["TIMESTAMP,ContextTokens,GeneratedTokens",
     *(f"2023-11-16 18:17:{n % 60:02}.0000000,{200 + 37 * n},{4 + n % 9}" for n in range(50))]
)  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def clade(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["slo", *map(str, arguments)])


def test_json_csv_and_picture(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"

    done = clade(
        "--trace", trace, "--policy", "fcfs", "--policy", "scorpio", "--load", "0.5",
        "--load", "1", "--gpu", "h100", "--model", "llama-3-8b", "--seeds", "2",
        "--out", out, "--json", "--processes", "1",
    )  # fmt: skip

    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(r["policy"], r["load"], r["seed"]) for r in rows] == [
        (policy, load, seed) for load in (0.5, 1.0) for policy in ("fcfs", "scorpio")
        for seed in (0, 1)
    ]  # fmt: skip
    for row in rows:
        assert row["adherence"] + row["rejected"] <= 1
        assert row["rate"] == pytest.approx(row["load"] * row["capacity"])
        assert sum(each["offered"] for each in row["classes"].values()) == row["offered"] == 50
    assert (out / "slo.png").read_bytes().startswith(b"\x89PNG")
    lines = list(csv.DictReader((out / "slo.csv").read_text().splitlines()))
    assert sorted(float(line["goodput"]) for line in lines) == pytest.approx(
        sorted(row["goodput"] for row in rows)
    )
    assert "SIMULATED h100" in done.stderr
    assert "EXTRAPOLATED" in done.stderr


def test_prefixes_that_a_trace_names_are_shared_unless_told_not_to(tmp_path: Path) -> None:
    """Every prompt begins with the same 4,096 of its 4,200 tokens."""
    trace = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": 100 * n, "input_length": 4_200, "output_length": 2,
         "hash_ids": [*range(8), 100 + n]} for n in range(60)
    ]  # fmt: skip
    trace.write_text("\n".join(map(json.dumps, rows)))
    asked = ("--trace", trace, "--policy", "fcfs-reject", "--load", "2", "--seeds", "1", "--json")

    shared, apart = (
        clade(*asked, "--gpu", "a100", flag) for flag in ("--prefix-cache", "--no-prefix-cache")
    )

    assert "KV blocks of 512" in shared.stderr
    assert "KV blocks of 512" not in apart.stderr
    [found], [not_found] = json.loads(shared.stdout), json.loads(apart.stdout)
    assert found["capacity"] == pytest.approx(not_found["capacity"], rel=0.05)
    assert found["rejected"] < 0.1
    assert not_found["rejected"] > 0.3


def test_the_command_prints_a_table_from_processes_of_their_own(trace: Path) -> None:
    script = "from app.cli import main; main()"
    arguments = ["sim", "slo", "--trace", str(trace), "--policy", "edf", "--load", "1"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--seeds", "2", "--processes", "2"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    head, line = done.stdout.splitlines()
    assert head.split()[:3] == ["load", "policy", "goodput/s"]
    assert line.split()[:2] == ["1", "edf"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--policy", "lifo"], "no policy 'lifo'"),
        (["--gpu", "abacus"], "no constants for abacus"),
        (["--load", "0"], "more than 0"),
        (["--load", "nan"], "more than 0"),
        (["--max-batched-tokens", "8"], "max_num_batched_tokens (8) must cover"),
    ],
)
def test_what_cannot_be_done_is_said(trace: Path, arguments: list[str], told: str) -> None:
    done = clade("--trace", trace, *arguments)

    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", "").split())


def test_missing_trace_names_those_that_come_along(tmp_path: Path) -> None:
    done = clade("--trace", tmp_path / "none.csv")

    assert done.exit_code == 2
    assert "azure-code" in done.stderr
