"""Some thousand damaged frames, and that the fuzzer notices what it is there to notice."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import codec
from bench import fuzz_frames
from bench.fuzz_frames import Finding, Fuzzer
from bench.fuzz_mutations import MUTATIONS, sealed, specimens
from codec.frames.head import DECODABLE

OVERREAD = """
from bench.guarded import Guarded
place = Guarded().holding(b"abc")
print(place.tobytes().decode(), flush=True)
import ctypes
ctypes.string_at(place.ctypes.data, 4)
"""

DEATH = """
import os, pathlib, signal, sys
from bench import fuzz_frames
run = fuzz_frames.Fuzzer.run
def die(self, number):
    return os.kill(os.getpid(), signal.SIGSEGV) if number == 7 else run(self, number)
fuzz_frames.Fuzzer.run = die
fuzz_frames.work(0, 0, 20, pathlib.Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def fuzzer() -> Fuzzer:
    return Fuzzer(0)


def test_thousands_of_damaged_frames_crash_nothing():
    command = [sys.executable, "-m", "bench.fuzz_frames", "--frames", "6000", "--workers", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "6,000 damaged frames" in result.stdout


def test_specimens_are_of_every_codec():
    methods = {codec.FrameHead.parse(specimen.frame).codec for specimen in specimens()}
    assert methods == DECODABLE


def test_sealing_a_sound_frame_changes_nothing():
    for specimen in specimens():
        assert sealed(bytearray(specimen.frame)) == specimen.frame


@pytest.mark.parametrize("kind", MUTATIONS)
def test_same_seed_makes_the_same_damage(kind: str):
    every = specimens()
    mutate = MUTATIONS[kind][0]
    for number in range(20):
        one = mutate(random.Random(number), every[number], every)
        assert one == mutate(random.Random(number), every[number], every)


def test_frame_is_the_same_whenever_it_is_run(fuzzer: Fuzzer):
    assert [fuzzer.run(n) for n in range(50)] == [fuzzer.run(n) for n in range(50)]


@pytest.mark.parametrize(
    "fault", [IndexError("out of bounds"), MemoryError(), ValueError("no"), OverflowError()]
)
def test_any_other_error_is_a_finding(
    fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch, fault: Exception
):
    def fail(*_arguments, **_options):
        raise fault

    monkeypatch.setattr(codec.FrameHead, "parse", fail)
    with pytest.raises(Finding, match=type(fault).__name__):
        fuzzer.run(1)


def test_wrong_bytes_are_a_finding(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch):
    decode = codec.decode

    def wrong(frame, **options):
        plain = bytearray(decode(frame, **options))
        plain[:1] = b"?"
        return memoryview(plain)

    monkeypatch.setattr(codec, "decode", wrong)
    monkeypatch.setattr(fuzz_frames, "RANGED", 0.0)
    with pytest.raises(Finding, match="wrong bytes"):
        list(map(fuzzer.run, range(400)))


def test_reading_behind_the_guard_kills():
    result = subprocess.run(
        [sys.executable, "-c", OVERREAD], capture_output=True, text=True, check=False
    )
    assert result.stdout == "abc\n"
    assert result.returncode == -signal.SIGSEGV


def test_number_of_the_frame_that_kills_survives(tmp_path: Path):
    progress = tmp_path / "progress"
    progress.write_bytes(bytes(8))
    result = subprocess.run(
        [sys.executable, "-c", DEATH, str(progress)], check=False, capture_output=True
    )
    assert result.returncode == -signal.SIGSEGV
    assert int.from_bytes(progress.read_bytes(), "little") == 7
