"""One measured transfer, and what a row of the transfer bench says of several."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.corpus import list_files
from bench.hub import Ran
from bench.report import mb, median, median_ratio, print_table


@dataclass(frozen=True)
class Transfer:
    """Wall and CPU seconds of one transfer. ``wire_nbytes`` where the client counts them."""

    seconds: float
    client_cpu_s: float
    server_cpu_s: float
    wire_nbytes: int = 0
    peak_nbytes: int = 0


class Server(Protocol):
    """What a transfer goes to or comes from."""

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        ...


def timed(server: Server, command: Callable[[], Ran]) -> Transfer:
    """Run a client and count what it and the server worked meanwhile."""
    before = server.cpu_s()
    ran = command()
    return Transfer(ran.seconds, ran.cpu_s, server.cpu_s() - before)


@dataclass(frozen=True)
class Aim:
    """What a ratio is to be: ``least`` of it for speeds, ``most`` for bytes."""

    peer: str
    least: float = 0.0
    most: float = 0.0


@dataclass(frozen=True)
class Side:
    """All rounds of one contender."""

    name: str
    nbytes: int
    done: Sequence[Transfer]

    @property
    def seconds(self) -> list[float]:
        """Wall seconds by round."""
        return [one.seconds for one in self.done]

    def speed_beside(self, peer: "Side") -> float:
        """Speed as a multiple of the peer's, the median over the rounds."""
        return median_ratio(peer.seconds, self.seconds)

    def facts(self) -> dict[str, Any]:
        """Medians, with CPU per decimal gigabyte of the file."""
        per_gb = 1e9 / self.nbytes
        facts: dict[str, Any] = {
            "seconds": round(median(self.seconds), 2),
            "mb_per_s": round(self.nbytes / median(self.seconds) / 1e6),
            "client_cpu_s_per_gb": round(median(one.client_cpu_s for one in self.done) * per_gb, 2),
            "server_cpu_s_per_gb": round(median(one.server_cpu_s for one in self.done) * per_gb, 2),
        }
        if wire := self.done[0].wire_nbytes:
            facts["wire_share"] = round(wire / self.nbytes, 3)
        if peak := max(one.peak_nbytes for one in self.done):
            facts["peak_rss_mb"] = round(peak / 1e6)
        return facts


def compare(
    title: str,
    nbytes: int,
    results: dict[str, list[Transfer]],
    peers: Sequence[str],
    aims: dict[str, Aim],
    note: str = "",
) -> dict[str, Any]:
    """Print every side beside ``peers`` and what it is to reach; the same as plain values."""
    sides = {name: Side(name, nbytes, done) for name, done in results.items()}
    rows: list[list[object]] = []
    facts: dict[str, Any] = {}
    for name, side in sides.items():
        told = facts[name] = side.facts()
        told["speed_beside"] = {
            peer: round(side.speed_beside(sides[peer]), 3) for peer in {*peers, *_peer(aims, name)}
        }
        rows.append(
            [
                name,
                f"{told['seconds']:.1f}",
                told["mb_per_s"],
                f"{told['client_cpu_s_per_gb']:.2f}",
                f"{told['server_cpu_s_per_gb']:.2f}",
                *(f"{told['speed_beside'][peer]:.2f}" for peer in peers),
                told.get("wire_share", ""),
                told.get("peak_rss_mb", ""),
                _verdict(told, aims.get(name)),
            ]
        )
    print_table(
        title,
        [
            *("side", "s", "MB/s", "client CPU s/GB", "server CPU s/GB"),
            *(f"speed / {peer}" for peer in peers),
            *("wire / file", "peak RSS MB", "aim"),
        ],
        rows,
        note,
    )
    return facts


def _peer(aims: dict[str, Aim], name: str) -> list[str]:
    aim = aims.get(name)
    return [aim.peer] if aim is not None and aim.least else []


def _verdict(told: dict[str, Any], aim: Aim | None) -> str:
    if aim is None:
        return ""
    if aim.most:
        share = told["wire_share"]
        told["aim"] = {"wire_share_below": aim.most, "met": share < aim.most}
        return f"wire {share:.2f} < {aim.most:.2f}{'' if share < aim.most else ' MISSED'}"
    speed = told["speed_beside"][aim.peer]
    told["aim"] = {"speed_beside": aim.peer, "at_least": aim.least, "met": speed >= aim.least}
    missed = "" if speed >= aim.least else " MISSED"
    return f"{speed:.2f} of {aim.peer} >= {aim.least:.2f}{missed}"


def heading(what: str, nbytes: int, rounds: int) -> str:
    """Title of a table of transfers."""
    return f"{what} of {mb(nbytes)} MB, medians of {rounds} rounds"


def check(copy: Path, original: Path) -> None:
    """Every file of the original is in the copy, byte for byte."""
    missing = set(list_files(original)) - set(list_files(copy))
    assert not missing, f"differs: {sorted(file.path for file in missing)}"


def fresh(directory: Path) -> Path:
    """The path with nothing left there from before."""
    shutil.rmtree(directory, ignore_errors=True)
    return directory
