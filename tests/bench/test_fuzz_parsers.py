"""A few thousand hostile inputs for every parser; the million is `make fuzz`."""

import random

import pytest

from bench.fuzz_parsers import damaged, run
from bench.fuzz_targets import REFUSALS, TARGETS, Target

by_target = pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])


@by_target
def test_hostile_inputs_are_read_or_refused(target: Target):
    outcomes = run(target, 1, range(400))
    assert outcomes.total() == 400
    assert outcomes.keys() - {"read"} or target.name in {"safetensors", "gguf"}


@by_target
def test_sound_inputs_are_read(target: Target):
    accepted = 0
    for seed in target.seeds:
        try:
            target.read(seed)
            accepted += 1
        except REFUSALS:
            continue
    assert accepted


def test_a_finding_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def broken(data: bytes) -> None:
        raise KeyError(data)

    target = Target("broken", broken, (b"abc",))
    with pytest.raises(SystemExit, match="FINDING in broken, seed 0, input 0"):
        run(target, 0, range(3))
    [kept] = tmp_path.iterdir()
    assert kept.read_bytes() == damaged(random.Random("0/broken/0"), target)
