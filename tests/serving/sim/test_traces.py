"""Azure's and Mooncake's columns, in files that other tools wrote."""

import json
import random
import statistics
from itertools import pairwise

import pytest

from serving.cli.traces import BUNDLED, NoSuchTrace, read_trace
from serving.sim.arrivals import Arrival, at_rate, bursts, mean_rate, poisson
from serving.sim.traces import BadTrace, parse_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:05.9799600,3180,8
"""


MOONCAKE = '{"timestamp": 1, "input_length": 2, "output_length": 3, "hash_ids": %s}\n'


def test_azure_columns_with_seven_digit_fractions() -> None:
    assert parse_trace(AZURE.splitlines()) == [Arrival(0.0, 4808, 10), Arrival(2.0, 3180, 8)]


def test_columns_are_found_by_name_and_times_sorted() -> None:
    text = "\ufeffid,GeneratedTokens,TIMESTAMP,ContextTokens\na,5,12.5,100\n\nb,6,10.0,200\n"

    assert parse_trace(text.splitlines()) == [Arrival(0.0, 200, 6), Arrival(2.5, 100, 5)]


def test_mooncake_lines() -> None:
    rows = [
        {"timestamp": 27_000, "input_length": 6_758, "output_length": 500, "hash_ids": [0]},
        {"timestamp": 30_000, "input_length": 10, "output_length": 0, "hash_ids": []},
    ]

    found = parse_trace(json.dumps(row) for row in rows)

    assert found == [Arrival(0.0, 6_758, 500, prefix=(0,)), Arrival(3.0, 10, 1)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("a,b\n1,2\n", "line 1: expected the columns TIMESTAMP"),
        (AZURE + "yesterday,1,2\n", "line 4: ValueError"),
        (AZURE + "2023-11-16 18:17:06,many,2\n", "line 4: ValueError"),
        (AZURE + "2023-11-16 18:17:06\n", "line 4: IndexError"),
        ('{"timestamp": 1}\n', "line 1: KeyError: 'input_length'"),
        ('{"timestamp": 1\n', "line 1: JSONDecodeError"),
        (MOONCAKE % "[-1]", "line 1: ValueError: hash_ids are numbers of 64 bits"),
        (MOONCAKE % "7", "line 1: TypeError"),
        ("\n".join(AZURE.splitlines()[:2]), "at least two"),
    ],
)
def test_bad_traces_say_where(text: str, told: str) -> None:
    with pytest.raises(BadTrace, match=told):
        parse_trace(text.splitlines())


@pytest.mark.parametrize(
    ("name", "count", "rate", "prompt"),
    [("azure-code", 8_819, 2.57, 2_048), ("mooncake-conversation", 12_031, 3.40, 12_035)],
)
def test_bundled_traces_are_what_was_published(name, count, rate, prompt) -> None:
    found = read_trace(name)

    assert len(found) == count
    assert mean_rate(found) == pytest.approx(rate, rel=0.01)
    mean = sum(arrival.num_prompt_tokens for arrival in found) / count
    assert mean == pytest.approx(prompt, rel=0.01)


def test_unknown_trace_names_those_there_are(tmp_path) -> None:
    with pytest.raises(NoSuchTrace, match=", ".join(BUNDLED)):
        read_trace(str(tmp_path / "none.csv"))


def test_scaling_keeps_bursts() -> None:
    trace = [Arrival(3.0, 1, 1), Arrival(4.0, 1, 1), Arrival(13.0, 1, 1)]

    scaled = at_rate(trace, 2.0)

    assert [arrival.at_s for arrival in scaled] == pytest.approx([0.0, 0.1, 1.0])
    assert mean_rate(scaled) == pytest.approx(2.0)


def test_generators_keep_the_rate_and_differ_in_burstiness() -> None:
    bodies = [Arrival(0.0, 10, 20)]

    def variation(arrivals) -> float:
        gaps = [b.at_s - a.at_s for a, b in pairwise(arrivals)]
        return statistics.stdev(gaps) / statistics.fmean(gaps)

    smooth = poisson(bodies, 5.0, 20_000, random.Random(1))
    bursty = bursts(bodies, 5.0, 20_000, random.Random(1), shape=0.1)

    assert mean_rate(smooth) == pytest.approx(5.0, rel=0.03)
    assert mean_rate(bursty) == pytest.approx(5.0, rel=0.10)
    assert variation(smooth) == pytest.approx(1.0, rel=0.05)
    assert variation(bursty) == pytest.approx(10**0.5, rel=0.10)
