"""Whether the order of uploads matters: stored bytes of the same models, uploaded in many orders.

Each order has a hub of its own in this process; background jobs run after every upload or after
all, by turns. Counted is what the bucket holds when the jobs are done, and again when the optimiser
has settled and what it replaced is collected. Every file is read back and compared.
"""

import argparse
import hashlib
import itertools
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog.commits import apply_commit
from app.catalog.operations import AddLfsFile
from app.db.tables import File
from app.deltas.optimise import owe_optimising
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub, open_hub
from app.ingest.creation import create_repo
from app.ingest.stream import ingest_stream
from app.jobs.runner import drain
from app.log import configure_logging
from app.restore.plan import load_plan
from app.restore.reader import FileReader
from app.settings import Settings
from app.tasks import HANDLERS
from bench.corpus import Corpus, ensure
from bench.families import FAMILIES
from bench.hub import workspace
from bench.report import print_table

MOST_SPREAD = 0.03
"""Of the best order's bytes: what the worst may take more."""

PART_NBYTES = 1 << 20

Models = Mapping[str, bytes | Path]
"""By name: a file's bytes, or the folder of a repository."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one order ended with, bytes of the bucket."""

    order: tuple[str, ...]
    before: int
    """The optimiser."""
    after: int


@contextmanager
def opened_hub(data: Path) -> Iterator[tuple[Hub, Principal]]:
    """An empty hub and its user."""
    settings = Settings.model_validate({"data": data, "log_level": "ERROR"})
    hub = open_hub(settings)
    try:
        token = create_user(hub, "bench").token
        with hub.db.read() as session:
            principal = authenticate(session, token)
        yield hub, principal
    finally:
        hub.close()


def upload(hub: Hub, principal: Principal, name: str, model: bytes | Path) -> None:
    """A repository of its own for a model; jobs are owed and not run."""
    files = {"model.safetensors": model} if isinstance(model, bytes) else _folder(model)
    repo = create_repo(hub, principal, "model", "bench", name)
    operations = []
    for path, data in files.items():
        digest = hashlib.sha256(data).digest()
        parts = (data[at : at + PART_NBYTES] for at in range(0, len(data), PART_NBYTES))
        ingest_stream(hub, parts, nbytes=len(data), sha256=digest, repo_id=repo.id)
        operations.append(AddLfsFile(path, digest, len(data)))
    apply_commit(hub, principal, repo, "refs/heads/main", operations, title="upload")


def settle(hub: Hub) -> int:
    """Do what is owed and collect what was replaced; bytes of the bucket."""
    drain(hub, HANDLERS)
    collect(hub, now=True)
    drain(hub, HANDLERS)
    collect(hub, now=True)
    return sum(stat.nbytes for stat in hub.store.list())


def measure(models: Models, order: Sequence[str], directory: Path, *, at_once: bool) -> Outcome:
    """Upload in an order and let the hub settle. Raises AssertionError if a byte is wrong."""
    with opened_hub(directory) as (hub, principal):
        for name in order:
            upload(hub, principal, name, models[name])
            if not at_once:
                drain(hub, HANDLERS)
        before = settle(hub)
        hub.db.run(lambda session: owe_optimising(session, hub))
        after = settle(hub)
        report = fsck(hub, deep=True)
        assert report.clean, report.problems
        _compare(hub, models)
    return Outcome(tuple(order), before, after)


def orders_of(names: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """The given order, its reverse, and others by chance; all there are if those are fewer."""
    every = itertools.permutations(names)
    few = list(itertools.islice(every, count + 1))
    if len(few) <= count:
        return few
    rng = random.Random(seed)
    orders = {tuple(names): None, tuple(reversed(names)): None}
    while len(orders) < count:
        orders[tuple(rng.sample(list(names), len(names)))] = None
    return list(orders)


def spread(nbytes: Sequence[int]) -> float:
    """How much more the worst takes than the best."""
    return max(nbytes) / min(nbytes) - 1


def run(title: str, models: Models, count: int, seed: int, directory: Path) -> list[Outcome]:
    """All orders of a family."""
    orders = orders_of(list(models), count, seed)
    return [
        measure(models, order, directory / f"{title}-{number}", at_once=number % 2 == 1)
        for number, order in enumerate(orders)
    ]


def _folder(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size
    }


def _compare(hub: Hub, models: Models) -> None:
    for model in models.values():
        files = [model] if isinstance(model, bytes) else _folder(model).values()
        for data in files:
            with hub.db.read() as session:
                digest = hashlib.sha256(data).digest()
                file_id = session.scalars(select(File.id).where(File.sha256 == digest)).one()
            stream = FileReader(hub, load_plan(hub, file_id)).stream(0, len(data))
            assert b"".join(stream) == data


def _corpus_models(corpus: Corpus) -> Models:
    return {repo.name: corpus.folder(repo) for repo in corpus.repos}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.order", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three orders of two families")
    parser.add_argument("--orders", type=int, default=8, help="orders of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", action="store_true", help="the demo corpus, real models, too")
    parser.add_argument("--only", action="append", help="a family; may be repeated")
    arguments = parser.parse_args()
    configure_logging(Settings(log_level="ERROR"))
    families: dict[str, Models] = {name: make() for name, make in FAMILIES.items()}
    if arguments.quick:
        families = {name: families[name] for name in ("star", "chain")}
    if arguments.corpus:
        families["corpus"] = _corpus_models(ensure(None))
    if arguments.only:
        families = {name: families[name] for name in arguments.only}
    count = 3 if arguments.quick else arguments.orders
    rows, worst = [], 0.0
    for title, models in families.items():
        with workspace() as directory:
            outcomes = run(title, models, count, arguments.seed, directory)
        before = [each.before for each in outcomes]
        after = [each.after for each in outcomes]
        worst = max(worst, spread(after))
        last = max(outcomes, key=lambda each: each.after)
        rows.append(
            [
                *(title, len(models), len(outcomes)),
                *(f"{min(before):,}", f"{spread(before):.2%}"),
                *(f"{min(after):,}", f"{spread(after):.2%}"),
                " ".join(last.order),
            ]
        )
        print(f"{title}: done", file=sys.stderr, flush=True)
    print_table(
        "stored bytes by order of upload",
        [
            "family",
            "models",
            "orders",
            "best bytes",
            "spread",
            "optimised",
            "spread",
            "worst order",
        ],
        rows,
        f"spread: worst / best order - 1; at most {MOST_SPREAD:.0%} after the optimiser",
    )
    if worst > MOST_SPREAD:
        sys.exit(f"the order of uploads matters: {worst:.2%}")


if __name__ == "__main__":
    main()
