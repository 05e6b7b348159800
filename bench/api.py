"""The API under load: latency, requests per second, CPU per request, on a hub of many repositories.

On SQLite and on PostgreSQL, answered by one process of the hub and by two, beside the same HTTP
stack answering a constant: the floor. Then ``snapshot_download`` of a thousand small files beside
nginx with the same bytes, and the memory of the processes round by round.
"""

import argparse
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from bench.api_requests import Connection, requests
from bench.api_sides import CONNECTIONS, Side, constant_server, filled_hub, hub_sides
from bench.hub import TOKEN, LiveHub, workspace
from bench.postgres import postgres_database
from bench.report import median, percentile, print_table
from bench.snapshots import compare_snapshots

DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
PARTS = ("requests", "snapshots")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 repositories, fewer requests")
    parser.add_argument("--repos", type=int, default=0, help="how many repositories (100,000)")
    parser.add_argument("--rounds", type=int, default=0, help="how often everything is asked (3)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--database", nargs="+", choices=list(DATABASES), default=list(DATABASES))
    parser.add_argument("--keep", type=Path, help="fill hubs here, or find them filled before")
    parser.add_argument("--prepare", action="store_true", help="fill them, and measure nothing")
    arguments = parser.parse_args()
    repos = arguments.repos or (2_000 if arguments.quick else 100_000)
    count, rounds = (40, 2) if arguments.quick else (100, 3)
    rounds = arguments.rounds or rounds
    if arguments.prepare and not arguments.keep:
        parser.error("--prepare is for --keep DIR")
    for database in arguments.database:
        if "requests" in arguments.only:
            with contextlib.ExitStack() as stack:
                root = arguments.keep or stack.enter_context(workspace())
                kept = root / "cluster" if arguments.keep else None
                settings = stack.enter_context(settings_for(database, kept))
                hub = stack.enter_context(filled_hub(root / database, settings, repos))
                if not arguments.prepare:
                    sides = {"constant": stack.enter_context(constant_server())}
                    sides |= stack.enter_context(hub_sides(DATABASES[database], hub, settings))
                    measure_requests(sides, repos, count, rounds)
        if "snapshots" in arguments.only and not arguments.prepare:
            with (
                workspace() as root,
                settings_for(database) as settings,
                LiveHub(root / "hub", settings) as hub,
            ):
                compare_snapshots(root, hub, TOKEN, rounds, DATABASES[database])


@contextlib.contextmanager
def settings_for(database: str, keep: Path | None = None) -> Iterator[dict[str, str]]:
    """Settings of a hub on SQLite, or on a PostgreSQL that runs until the block ends."""
    if database == "sqlite":
        yield {}
        return
    with postgres_database(keep) as url:
        yield {"database_url": url}


def measure_requests(sides: dict[str, Side], repos: int, count: int, rounds: int) -> None:
    """Ask every side everything, in turn, and print what it took."""
    asked = requests(repos)
    for side in sides.values():
        for ask in asked.values():
            Connection(side.urls[-1]).send(ask(random.Random(0)))
        side.look_at_memory()
    first_seed = random.randrange(1 << 40)
    for number in range(rounds):
        for name, ask in asked.items():
            for side in sides.values():
                side.measure(name, ask, count)
        for at, side in enumerate(sides.values()):
            start = first_seed + (at * rounds + number) * 3
            side.measure_commits(range(start, start + 3))
            side.look_at_memory()
    tell(sides, f"API, {repos:,} repositories, {CONNECTIONS} connections for the rate")
    print_table(
        "Resident set of the server, MB",
        ["side", "before", *(f"round {number + 1}" for number in range(rounds))],
        [[name, *side.rss] for name, side in sides.items()],
    )


def tell(sides: dict[str, Side], title: str) -> None:
    """Print every request of every side."""
    rows = [
        [
            name,
            label,
            f"{median(side.seconds[name]) * 1e3:.1f}",
            f"{percentile(side.seconds[name], 99) * 1e3:.1f}",
            f"{median(side.rates[name]):.1f}",
            f"{median(side.cpu_ms[name]):.1f}",
        ]
        for name in next(iter(sides.values())).seconds
        for label, side in sides.items()
    ]
    print_table(title, ["request", "side", "p50 ms", "p99 ms", "req/s", "server CPU ms"], rows)


if __name__ == "__main__":
    main()
