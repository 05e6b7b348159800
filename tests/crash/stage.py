"""A hub that dies and is started again on what it left, with a memory of what it acknowledged."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import select

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid
from app.catalog.operations import AddFile, AddLfsFile, Operation
from app.catalog.refs import BRANCH, list_refs, resolve_revision
from app.catalog.repos import find_readable_repo
from app.catalog.trees import load_directory
from app.clock import ManualClock
from app.db import Database
from app.db.tables import Job, Repo, StoredObject
from app.errors import Damaged, RepoMoved
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.ingest.creation import create_repo
from app.jobs.runner import drain, run_one
from app.restore.plan import load_plan
from app.restore.reader import FileReader
from app.settings import Settings
from app.store.contract import ObjectStore
from app.tasks import HANDLERS
from tests.crash.wire import Killed, Wire
from tests.fixtures.hub import open_test_hub

MAIN = BRANCH + "main"
MOST_DEATHS = 200
"""Of one act: it must get through in the end."""

Dies = Callable[[str], bool]

Place = tuple[str, str, str]
"""Repository of alice's, branch, path."""


@dataclass
class Stage:
    """What survives the hub's processes: settings, time, and what clients were told."""

    settings: Settings
    db: Database | None = None
    store: ObjectStore | None = None
    """To open each hub with. What is lent stays open, and each process goes on with its
    connections; by default each has its own, and compiles all statements."""
    clock: ManualClock = field(default_factory=ManualClock)
    dies: Dies = lambda _step: False
    acknowledged: dict[Place, bytes] = field(default_factory=dict)
    """What commits were acknowledged with, and nobody removed."""
    offered: dict[Place, bytes] = field(default_factory=dict)
    """What a commit was asked for with and did not say yet: it may show instead."""
    deaths: list[str] = field(default_factory=list)
    clock_was_ahead_s: float = 0
    """By how much clocks jumped back: times that they wrote before lie that far ahead."""
    lives_on: bool = False
    """Whether one process does what follows, until it dies; else each act has one of its own."""
    is_harmed: bool = False
    """Whether the store was damaged on purpose, and is not healed yet."""

    def __post_init__(self) -> None:
        self.hub = self._open()
        create_user(self.hub, "alice", token="hf_alice")

    def _open(self) -> Hub:
        hub = open_test_hub(self.settings, self.db, self.store)
        hub.clock = self.clock
        return hub

    @property
    def alice(self) -> Principal:
        with self.hub.db.read() as session:
            return authenticate(session, "hf_alice")

    def play(self, act: Callable[["Stage"], None]) -> None:
        """One thing that a client, a runner or a collector does; done again until it gets through,
        as each of them does. After each death everything acknowledged is looked at."""
        for _ in range(MOST_DEATHS):
            wire = Wire(self.hub, self.dies)
            try:
                act(self)
            except Killed:
                assert wire.dead_at is not None
                wire.take_off()
                self.deaths.append(wire.dead_at)
                self.restart()
                self.check()
            else:
                assert wire.dead_at is None, f"{wire.dead_at}: the end was swallowed"
                if self.lives_on:
                    wire.take_off()
                else:
                    self.restart()
                return
        raise AssertionError(f"{act} never gets through: {self.deaths[-MOST_DEATHS:]}")

    def restart(self) -> None:
        """Another process opens the hub; jobs of the dead one are taken over."""
        self.close()
        self.hub = self._open()
        self.clock.advance(self.settings.timers.job_lease_s + 1)

    def close(self) -> None:
        """The process ends; what it was lent stays open."""
        if self.db is None:
            self.hub.db.dispose()
        if self.store is None:
            self.hub.store.close()

    def check(self, *, deep: bool = False) -> None:
        """What was acknowledged comes back; rows and store agree."""
        report = fsck(self.hub, deep=deep)
        assert report.clean or self.is_harmed, (self.deaths[-1:], report.problems)
        trees = {place[:2]: self.files(*place[:2]) for place in self.acknowledged}
        wanted = {place: trees[place[:2]][place[2]] for place in self.acknowledged}
        read: dict[int, bytes] = {}
        for place, file_id in wanted.items():
            with suppress(*([Damaged] if self.is_harmed else [])):
                if file_id not in read:
                    read[file_id] = self.read_file(file_id)
                may_be = (self.acknowledged[place], self.offered.get(place))
                assert read[file_id] in may_be, (self.deaths[-1:], place)

    def harm(self, change: Callable[[bytes], bytes | None], *, purpose: str = "") -> None:
        """Change the bytes of all live objects of a purpose behind the hub's back; None: lost."""
        self.is_harmed = True
        hub = self._open()
        with hub.db.read() as session:
            live = select(StoredObject.key, StoredObject.nbytes).where(StoredObject.state == "live")
            found = session.execute(
                live.where(StoredObject.purpose == purpose) if purpose else live
            ).all()
        for key, nbytes in found:
            hub.store.delete(key)
            if (data := change(bytes(nbytes))) is not None:
                hub.store.put(key, [data])
        hub.close()

    def write_behind(self, key: str, data: bytes) -> None:
        """Put an object that no row knows."""
        hub = self._open()
        hub.store.put(key, [data])
        hub.close()

    def finish(self) -> None:
        """Time passes, jobs and collections run; nothing that anybody gave up on is left."""
        drain(self.hub, HANDLERS)
        self.clock.advance(self.clock_was_ahead_s + 30 * 24 * 3600)
        collect(self.hub, now=True)
        drain(self.hub, HANDLERS)
        collect(self.hub, now=True)
        self.check(deep=True)
        with self.hub.db.read() as session:
            states = set(session.scalars(select(StoredObject.state)))
            jobs = session.execute(select(Job.kind, Job.state, Job.error)).all()
            keys = set(session.scalars(select(StoredObject.key)))
        assert states <= {"live"}
        assert {state for _, state, _ in jobs} <= {"done"}, jobs
        assert keys == {stat.key for stat in self.hub.store.list()}

    # --- what clients do ---

    def repo(self, name: str) -> Repo:
        """By its name or a former one."""
        alice = self.alice
        with self.hub.db.read() as session:
            try:
                return find_readable_repo(session, alice, "model", "alice", name)
            except RepoMoved as moved:
                today = moved.repo_id.rpartition("/")[2]
                return find_readable_repo(session, alice, "model", "alice", today)

    def create(self, name: str) -> None:
        create_repo(self.hub, self.alice, "model", "alice", name)

    def commit(self, name: str, files: Mapping[str, bytes], operations: list[Operation]) -> None:
        """Commit and, once that is acknowledged, remember."""
        payload = hashlib.sha256(repr(operations).encode()).digest()
        self.offered = {(name, "main", path): data for path, data in files.items()}
        apply_commit(
            self.hub,
            self.alice,
            self.repo(name),
            MAIN,
            operations,
            title="a change",
            payload_digest=payload,
        )
        self.acknowledged |= self.offered
        self.offered = {}

    def commit_lfs(self, name: str, path: str, data: bytes) -> None:
        """Commit a file that was sent by LFS or Xet."""
        operation = AddLfsFile(path, hashlib.sha256(data).digest(), len(data))
        self.commit(name, {path: data}, [operation])

    def commit_inline(self, name: str, path: str, data: bytes, file_id: int) -> None:
        self.commit(name, {path: data}, [AddFile(path, file_id, blob_oid(data))])

    def forget(self, name: str, *paths: str) -> None:
        """From before their removal is asked for: it may be acknowledged or not."""
        for key in list(self.acknowledged):
            if key[0] == name and (not paths or key[2] in paths):
                del self.acknowledged[key]

    def branches(self, name: str) -> set[str]:
        """Of a repo, by short name."""
        repo = self.repo(name)
        with self.hub.db.read() as session:
            return {ref.name.removeprefix(BRANCH) for ref in list_refs(session, repo)}

    def files(self, name: str, branch: str) -> dict[str, int]:
        """Path -> file, at the top of a branch."""
        repo = self.repo(name)
        with self.hub.db.read() as session:
            tree = resolve_revision(session, repo, branch).tree_oid
            entries = load_directory(session, repo.id, tree)
        return {path: int(each["file_id"] or 0) for path, each in entries.items()}  # type: ignore[arg-type]

    def read(self, name: str, branch: str, path: str) -> bytes:
        """What a branch shows at a path."""
        return self.read_file(self.files(name, branch)[path])

    def read_file(self, file_id: int) -> bytes:
        """A file, as a download streams it."""
        plan = load_plan(self.hub, file_id)
        return b"".join(FileReader(self.hub, plan).stream(0, plan.nbytes))

    def run_jobs(self) -> None:
        """As a runner does, one after the other."""
        while run_one(self.hub, HANDLERS, "stage"):
            pass


Act = Callable[[Stage], None]
"""One thing that is done to a hub."""


def small_parts(settings: Settings) -> Settings:
    """Settings under which a file of some hundred thousand bytes is sent in parts."""
    limits = settings.limits.model_copy(
        update={"lfs_multipart_nbytes": 200_000, "lfs_part_nbytes": 100_000}
    )
    return settings.model_copy(update={"limits": limits})
