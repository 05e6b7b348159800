"""Coders in processes of their own, run in turn, each measured in its CPU time and in wall time."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np

from bench.codec_peers import Work, coder_of
from bench.report import median, median_ratio

TARGETS = {
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt",
    },
    "portable": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"},
}
"""Environments for the instruction sets below that of the machine: a processor's name alone would
leave the compiler all that this machine has."""

LEAST_S = 0.3
"""A turn works on and on for so long: a scheduler takes some milliseconds to notice that of two
threads that woke on one core one could have the other, which a machine that is half busy does not
look for at once (Linux, SIS_UTIL), and shorter work is over by then."""


@dataclass(frozen=True)
class Side:
    """A coder, how many threads it may use, and which instructions (None: all there are)."""

    coder: str
    threads: int = 1
    instructions: str | None = None

    @property
    def label(self) -> str:
        parts = [self.coder]
        if self.instructions:
            parts.append(self.instructions)
        if self.threads > 1:
            parts.append(f"{self.threads} threads")
        return ", ".join(parts)


@dataclass(frozen=True)
class Tensor:
    """Files with the bytes of a tensor and of its base."""

    title: str
    dtype: str
    target: Path
    base: Path | None = None

    @property
    def nbytes(self) -> int:
        return self.target.stat().st_size


@dataclass
class Times:
    """What a side took in every round, seconds, and the length of what it stored."""

    stored_nbytes: int
    encode_cpu: list[float]
    encode_wall: list[float]
    decode_cpu: list[float]
    decode_wall: list[float]


class SideProcess:
    """A side that waits for orders in another process."""

    def __init__(self, side: Side, tensor: Tensor) -> None:
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        wanted = TARGETS[side.instructions] if side.instructions else {}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            self._process = context.Process(target=_serve, args=(theirs, side, tensor), daemon=True)
            self._process.start()
        finally:
            for name, value in before.items():
                _restore(name, value)
        theirs.close()
        self.side = side

    def ask(self, order: str) -> Any:
        """Have ``encode``, ``decode`` or ``verify`` done; what it answers."""
        self._orders.send(order)
        try:
            answer = self._orders.recv()
        except EOFError:
            raise SystemExit(f"{self.side.label} ended at {order!r}") from None
        if isinstance(answer, str):
            raise SystemExit(f"{self.side.label}: {answer}")
        return answer

    def close(self) -> None:
        self._orders.close()
        self._process.join()


class Sides:
    """All sides of one comparison; a context manager."""

    def __init__(self, tensor: Tensor, sides: Sequence[Side]) -> None:
        self.tensor = tensor
        self._processes = [SideProcess(side, tensor) for side in sides]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._processes:
            process.close()

    def measure(self, rounds: int, encode_rounds: int) -> dict[Side, Times]:
        """Times of all sides, in turn within every round, after one that is not counted."""
        times = {}
        for process in self._processes:
            _, _, stored_nbytes = process.ask("encode")
            process.ask("decode")
            process.ask("verify")
            times[process.side] = Times(stored_nbytes, [], [], [], [])
        for order, count in (("decode", rounds), ("encode", encode_rounds)):
            for number in range(count):
                turn = number % len(self._processes)
                for process in self._processes[turn:] + self._processes[:turn]:
                    cpu, wall, _ = process.ask(order)
                    getattr(times[process.side], f"{order}_cpu").append(cpu)
                    getattr(times[process.side], f"{order}_wall").append(wall)
        return times


def speed(nbytes: int, seconds: Sequence[float]) -> float:
    """Median GB of raw bytes per second."""
    return nbytes / median(seconds) / 1e9


def faster(ours: Sequence[float], peer: Sequence[float]) -> float:
    """How many times as fast ours is: the median over the rounds."""
    return median_ratio(peer, ours)


def _serve(orders: Connection, side: Side, tensor: Tensor) -> None:
    target = np.memmap(tensor.target, np.uint8, mode="r")
    base = None if tensor.base is None else np.memmap(tensor.base, np.uint8, mode="r")
    out = np.empty(target.size, np.uint8)
    work = Work(np.asarray(target), _plain(base), out, tensor.dtype, side.threads)
    coder = coder_of(side.coder, work)
    stored: list[Any] = []
    while True:
        try:
            order = orders.recv()
        except EOFError:
            return
        if order == "verify":
            is_right = np.array_equal(out, target)
            orders.send(True if is_right else "did not give the bytes back")
            out[:] = 0
            continue
        cpu, wall, count = time.process_time(), time.perf_counter(), 0
        while not count or time.perf_counter() - wall < LEAST_S:
            if order == "encode":
                stored = coder.encode()
            else:
                coder.decode(stored)
            count += 1
        spent = time.process_time() - cpu, time.perf_counter() - wall
        orders.send((*(each / count for each in spent), sum(map(len, stored))))


def _plain(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else np.asarray(array)


def _restore(name: str, before: str | None) -> None:
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before
