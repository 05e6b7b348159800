"""What a commit costs, and what follows from it, does not grow with the history of its repo.

Work is counted and not timed, see ``tests.fixtures.meter``. Each commit replaces the same few
files, so that history grows and the head does not; one file is in all versions.
"""

from collections.abc import Callable

import numpy as np
from safetensors.numpy import save

from app.accounts.tokens import Principal
from app.api.hf.repo_facts import load_facts
from app.catalog.indexing import index_repo
from app.catalog.refs import resolve_revision
from app.catalog.repos import ListedRepo
from app.catalog.storage_use import list_storage
from app.db.tables import Account
from app.ingest.inline import ingest_inline
from app.jobs.runner import drain
from app.tasks import HANDLERS
from tests.fixtures.meter import Meter
from tests.fixtures.proposals import MAIN, Forum

COMMITS = {"sqlite": (30, 240), "postgresql": (130, 300)}
"""Few and many. PostgreSQL's indexes have two levels from some 370 rows on, see the growth test of
routes."""

ROOM = 1.3
"""Deeper trees of the indexes."""

SLACK = {"sqlite": 1_000, "postgresql": 60}
"""What may come and go, as with a page of a tree that is split."""

KEPT = {"again.txt": b"the same", "new\N{SNOWMAN}.bin": b"\x80\x04]\x94."}


class Growing:
    """A repo whose history grows, and the work of what is done to it."""

    def __init__(self, forum: Forum) -> None:
        self.forum = forum
        self._commits = 0
        self._meter = Meter(asleep=True)
        self._meter.watch(forum.hub.db.engine)

    def commit(self, who: Principal | None = None) -> None:
        """One more: some files anew, and some as they were."""
        self._commits += 1
        name, content = f"{self._commits % 5}.txt", b"%d" % self._commits
        weights = {"w": np.full((20, 50), self._commits, np.float32)}
        changed = {
            name: content,
            f"sub/{name}": b"below " + content,
            "w.safetensors": save(weights),
        }
        self.forum.commit(who or self.forum.ada, MAIN, {**changed, **KEPT})

    def work_of(self, act: Callable[[], object]) -> int:
        """Of the database."""
        before, self._meter.asleep = self._meter.total, False
        act()
        self._meter.asleep = True
        return self._meter.total - before

    def measure(self) -> dict[str, int]:
        """Work of each thing that is done again and again."""
        engine = self.forum.hub.db.engine
        if engine.dialect.name != "sqlite":  # which has no statistics on a hub, either
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
        acts = (
            *(self.commit, self.index, self.send_again, self.describe, self.list_storage),
            self.run_jobs,
        )
        return {act.__name__: self.work_of(act) for act in acts}

    def index(self) -> None:
        index_repo(self.forum.hub, self.forum.repo.id)

    def send_again(self) -> None:
        """Bytes that the repo's history holds and that nobody was granted."""
        ingest_inline(self.forum.hub, list(KEPT.values()), repo_id=self.forum.repo.id)

    def run_jobs(self) -> None:
        """Those that the last commit owes."""
        drain(self.forum.hub, HANDLERS)

    def describe(self) -> None:
        hub, repo = self.forum.hub, self.forum.repo
        with hub.db.read() as session:
            commit = resolve_revision(session, repo, "main")
            listed = ListedRepo(repo, "ada")
            load_facts(session, self.forum.ada, listed, commit, ["usedStorage", "safetensors"])

    def list_storage(self) -> None:
        with self.forum.hub.db.read() as session:
            owner = session.get_one(Account, self.forum.repo.namespace_id)
            list_storage(session, owner, after=0, limit=10)


def test_work_does_not_grow_with_the_history(forum: Forum):
    growing = Growing(forum)
    found: list[dict[str, int]] = []
    dialect = forum.hub.db.engine.dialect.name
    few_commits, many_commits = COMMITS[dialect]
    for commits in (few_commits, many_commits - few_commits):
        for _ in range(commits):
            growing.commit()
        growing.run_jobs()
        growing.commit()
        growing.run_jobs()
        found.append(growing.measure())
    few, many = found
    slack = SLACK[dialect]
    grown = {act: (work, many[act]) for act, work in few.items() if many[act] > ROOM * work + slack}
    assert not grown, f"{few} -> {many}"
