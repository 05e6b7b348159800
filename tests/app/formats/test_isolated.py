"""Parsing in a child process: the same answers, and a bound on what a header may cost."""

import sys

import pytest

from app.errors import Unavailable
from app.formats import isolated, safetensors
from app.formats.segments import Doubt, HeaderLimits, NeedMore
from tests.fixtures.files import gguf_of, safetensors_file, safetensors_of

LIMITS = HeaderLimits(header_nbytes=25_000_000, tensors=262_144)


def test_layout_survives_the_way_back():
    file = safetensors_of({"ä": ("F32", [2, 1], bytes(8)), "b": ("U8", [], b"1")})
    answer = isolated.parse("safetensors", file, len(file), LIMITS)
    assert answer == safetensors.parse(file, len(file), LIMITS)


def test_question_and_doubt_survive_the_way_back():
    file = gguf_of({"a": (0, (8,), bytes(32))})
    answer = isolated.parse("gguf", file[:50], len(file), LIMITS)
    assert isinstance(answer, NeedMore)
    with pytest.raises(Doubt, match="trailing"):
        isolated.parse("gguf", file, len(file) + 100, LIMITS)


def test_header_that_costs_too_much_is_doubted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolated, "WALL_S", 0)
    with pytest.raises(Doubt, match="took more than"):
        isolated.parse("safetensors", safetensors_file("{}"), 10, LIMITS)


def test_child_that_dies_is_doubt_and_not_an_error():
    with pytest.raises(Doubt, match="took more than"):
        isolated.parse("opaque", b"", 0, LIMITS)  # no such parser: the child ends with a traceback


def test_header_that_eats_memory_kills_the_child_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolated, "MEMORY_NBYTES", 128 << 20)
    file = safetensors_file('{"a":[' + "[]," * 3_000_000 + "[]]}")  # unfolds to 30 times its size
    with pytest.raises(Doubt, match="took more than"):
        isolated.parse("safetensors", file, len(file), LIMITS)


def test_header_that_eats_time_kills_the_child_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolated, "CPU_S", 1)
    file = safetensors_file('{"a":[' + '{"b":1},' * 2_500_000 + "1]}")
    with pytest.raises(Doubt, match="took more than"):
        isolated.parse("safetensors", file, len(file), LIMITS)


def test_no_process_is_an_outage(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(Unavailable, match="try again"):
        isolated.parse("safetensors", b"", 0, LIMITS)
