"""Memory for which the system is asked for huge pages."""

import sys
from pathlib import Path

import numpy as np
import pytest

from codec.machine.pages import WORTHWHILE_NBYTES, ask_for_huge_pages


def flags_at(address: int) -> list[str]:
    """What the kernel notes of the mapping that holds an address (proc_pid_smaps(5))."""
    is_here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            start, stop = (int(part, 16) for part in first.split("-"))
            is_here = start <= address < stop
        elif is_here and first == "VmFlags:":
            return line.split()[1:]
    raise LookupError(hex(address))


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no huge pages to ask for"
)
def test_the_system_is_asked_for_room_of_megabytes():
    memory = np.frombuffer(bytearray(64 << 20), np.uint8)
    middle = memory.ctypes.data + memory.size // 2
    assert "hg" not in flags_at(middle)
    ask_for_huge_pages(memory)
    assert "hg" in flags_at(middle)


@pytest.mark.parametrize("nbytes", [0, 1, WORTHWHILE_NBYTES - 1, WORTHWHILE_NBYTES + 1])
@pytest.mark.parametrize("offset", [0, 1, 4097])
def test_what_is_there_stays(nbytes, offset):
    memory = np.arange(nbytes + offset, dtype=np.uint32).astype(np.uint8)
    ask_for_huge_pages(memory[offset:])
    assert np.array_equal(memory, np.arange(nbytes + offset, dtype=np.uint32).astype(np.uint8))


def test_other_systems_are_not_asked(monkeypatch):
    monkeypatch.setattr("codec.machine.pages._ADVICE", None)
    monkeypatch.setattr("codec.machine.pages._madvise", lambda: sys.exit("asked"))
    ask_for_huge_pages(np.empty(WORTHWHILE_NBYTES, np.uint8))
