"""Rows of the transfer bench: ratios within a round, CPU per gigabyte, aims met or missed."""

import os
import subprocess
import sys

import pytest

from bench.cpu import ended_cpu_s, process_cpu_s
from bench.transfers import Aim, Transfer, compare

GB = 10**9


def side(*seconds: float, wire_nbytes: int = 0) -> list[Transfer]:
    return [Transfer(each, each / 2, each / 4, wire_nbytes) for each in seconds]


def test_speeds_are_compared_within_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    results = {"sink": side(10, 1, 4), "ours": side(20, 1.25, 8)}
    facts = compare("upload", GB, results, ["sink"], {"ours": Aim("sink", least=0.5)})

    assert facts["ours"]["speed_beside"] == {"sink": 0.5}
    assert facts["ours"]["aim"] == {"speed_beside": "sink", "at_least": 0.5, "met": True}
    assert (facts["ours"]["seconds"], facts["ours"]["mb_per_s"]) == (8, 125)
    assert facts["ours"]["client_cpu_s_per_gb"] == 4
    assert facts["ours"]["server_cpu_s_per_gb"] == 2
    assert "MISSED" not in capsys.readouterr().out


def test_missed_aims_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    results = {"sink": side(1), "ours": side(2.5), "pull": side(1, wire_nbytes=GB // 2)}
    aims = {"ours": Aim("sink", least=0.5), "pull": Aim("sink", most=0.45)}
    facts = compare("transfer", GB, results, ["sink"], aims)

    assert [facts[name]["aim"]["met"] for name in ("ours", "pull")] == [False, False]
    assert facts["pull"]["wire_share"] == 0.5
    assert capsys.readouterr().out.count("MISSED") == 2


def test_cpu_of_a_process_counts_its_children() -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    before, ended = process_cpu_s(os.getpid()), ended_cpu_s()

    subprocess.run([sys.executable, "-c", nested], check=True)

    assert process_cpu_s(os.getpid()) - before >= 0.3
    assert ended_cpu_s() - ended >= 0.3
