"""Files of every kind through the whole hub: what comes out is what went in, coded or not."""

import hashlib
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils._xet import XET_CONNECTION_INFO_CACHE, abort_xet_session
from sqlalchemy import func, select, update

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog.listing import Entry, list_files
from app.catalog.refs import resolve_revision
from app.catalog.repos import delete_repo, find_readable_repo
from app.clock import SystemClock
from app.db.tables import Encoding, File, Job, Repo
from app.deltas.optimise import owe_optimising
from app.deltas.reencode import owe_reencoding
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.gc.periodic import collect_garbage, sweep_store
from app.hub import Hub
from app.ingest.creation import create_repo
from app.jobs.context import JobContext
from app.jobs.runner import drain, run_one
from app.restore.bulk import read_file
from app.restore.plan import load_plan
from app.restore.reader import FileReader
from app.settings import Settings
from app.tasks import HANDLERS
from client.pull import pull
from tests.fixtures.api import running_server
from tests.fixtures.hub import open_test_hub
from tests.torture.budget import IS_LONG, Ledger, Summary, budget, piece_s, told
from tests.torture.entries import Sender, send
from tests.torture.files import Made, Maker
from tests.torture.weights import Chance

pytestmark = [
    pytest.mark.timeout(0),
    # The stock client's own, of how it sends bytes by LFS.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
]

Tell = Callable[[str], None]

OWNERS = ("alice", "bob")
DAY_S = 24 * 3600
REPOS, BATCHES, FILES = 4, 2, 60
"""Of a round: repositories, batches for each, files of each on average."""

KEPT = 8
"""Repositories that later ones may come of; then the oldest goes, whoever depends on it."""

MOST_OUTSIDE = 30
"""Files of a repository that are asked for one by one over HTTP."""

STREAMED_NBYTES = (1000, 20_000)
SHRUNK = ("encode", "recode", "coding", "repack")


class ClockAhead(SystemClock):
    """Time that can be skipped. Clients, which have their own, take what is issued for fresh."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self._ahead

    def sleep(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@dataclass
class Shelf:
    """A served hub, and what its repositories must give back."""

    hub: Hub
    url: str
    directory: Path
    chance: Chance
    summary: Summary
    tokens: dict[str, str] = field(default_factory=dict)
    repos: dict[str, dict[tuple[str, str], Made]] = field(default_factory=dict)
    """Repository -> branch and path -> file."""

    def who(self, name: str) -> Principal:
        if name not in self.tokens:
            self.tokens[name] = create_user(self.hub, name, token=f"hf_{name}").token
        with self.hub.db.read() as session:
            return authenticate(session, self.tokens[name])

    def token_of(self, repo: str) -> str:
        return self.tokens[repo.partition("/")[0]]

    def row(self, repo: str) -> Repo:
        owner, name = repo.split("/")
        with self.hub.db.read() as session:
            return find_readable_repo(session, self.who(owner), "model", owner, name)

    # --- in ---

    def fill(self, repo: str, maker: Maker, most: int) -> int:
        """Batches of files by any entry; how many files that were."""
        owner, name = repo.split("/")
        who, draws = self.who(owner), self.chance.draws
        row = create_repo(self.hub, who, "model", owner, name, private=self.chance.often(0.3))
        held = self.repos[repo] = {}
        sender = Sender(self.hub, self.url, self.tokens[owner], who, row, repo, self.chance)
        for _ in range(BATCHES):
            wanted = min(draws.randint(1, 2 * FILES - 1), most - len(held))
            batch: list[Made] = []
            while len(batch) < wanted:
                batch += maker.some()
            if not batch:
                break
            for entry, branch, files in send(sender, batch):
                held |= {(branch, each.path): each for each in files}
                self.summary.count(f"by {entry}", len(files))
        self.summary.count("files", len(held))
        self.summary.count("KiB", sum(len(each.data) for each in held.values()) >> 10)
        return len(held)

    # --- out ---

    def entries(self, repo: str) -> Iterator[tuple[Made, Entry]]:
        row = self.row(repo)
        for branch in dict.fromkeys(branch for branch, _ in self.repos[repo]):
            with self.hub.db.read() as session:
                tree = resolve_revision(session, row, branch).tree_oid
                listed = {each.path: each for each in list_files(session, row.id, tree)}
            for (on, path), made in self.repos[repo].items():
                if on == branch:
                    assert listed[path].nbytes == len(made.data)
                    yield made, listed[path]

    def check(self, repos: Sequence[str], ranges: int) -> None:
        """Each file as a whole, and random ranges of it."""
        for repo in repos:
            for made, entry in self.entries(repo):
                self.check_one(made, entry, ranges)

    def check_one(self, made: Made, entry: Entry, ranges: int) -> None:
        assert entry.file_id is not None
        data, draws, hub = made.data, self.chance.draws, self.hub
        plan = load_plan(hub, entry.file_id)
        if len(data) <= 256 << 10 and self.chance.often(0.5):
            whole = read_file(hub, entry.file_id, len(data))
        else:
            whole = b"".join(FileReader(hub, plan).stream(0, len(data)))
        assert plan.sha256 == hashlib.sha256(whole).digest(), made.kind
        assert whole == data, made.kind
        for _ in range(ranges):
            start = draws.randint(0, len(data))
            stop = min(len(data), start + draws.choice((1, 100, 5000, len(data))))
            part = b"".join(FileReader(hub, plan).stream(start, stop))
            assert part == data[start:stop], (made.kind, start, stop)
        self.summary.count("reads", 1 + ranges)

    def check_from_outside(self, repo: str) -> None:
        """Over HTTP, as each kind of client reads: whole, ranges, LFS, Xet, and by plans."""
        token = self.token_of(repo)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=60, trust_env=False
        ) as client:
            found = list(self.entries(repo))
            for made, entry in self.chance.draws.sample(found, min(MOST_OUTSIDE, len(found))):
                self._resolve(client, repo, made, entry)
            held = {place: each for place, each in self.repos[repo].items() if place[0] == "main"}
        self._snapshot(repo, held)
        self._pull(repo, held)

    def _resolve(self, client: httpx.Client, repo: str, made: Made, entry: Entry) -> None:
        branch = next(on for (on, path) in self.repos[repo] if path == entry.path)
        url = f"/{repo}/resolve/{branch}/{quote(entry.path)}"
        assert client.get(url).raise_for_status().content == made.data, made.kind
        self._ranges(client, url, made)
        if entry.is_lfs:
            [link] = lfs_links(client, repo, [made.data])
            assert client.get(link).raise_for_status().content == made.data, made.kind
            self._ranges(client, link, made)
        self.summary.count("reads over HTTP", 4 if entry.is_lfs else 2)

    def _ranges(self, client: httpx.Client, url: str, made: Made) -> None:
        if not made.data:
            return
        start = self.chance.draws.randrange(len(made.data))
        stop = self.chance.draws.randint(start, len(made.data) - 1)
        answer = client.get(url, headers={"Range": f"bytes={start}-{stop}"}).raise_for_status()
        assert answer.content == made.data[start : stop + 1], (made.kind, start, stop)

    def _snapshot(self, repo: str, held: dict[tuple[str, str], Made]) -> None:
        """By the stock client, of what is LFS by Xet."""
        to = self.directory / "snapshot"
        HfApi(endpoint=self.url, token=self.token_of(repo)).snapshot_download(
            repo, cache_dir=self.directory / "cache", local_dir=to
        )
        self._compare(to, held, "reads by the stock client")

    def _pull(self, repo: str, held: dict[tuple[str, str], Made]) -> None:
        """By our own: a plan of each file, stored bytes from hub or bucket, decoded there."""
        to, token = self.directory / "pull", self.token_of(repo)
        cache = self.directory / "contents"
        pull(repo, to=to, token=token, endpoint=self.url, planned_nbytes=0, cache=cache)
        shutil.rmtree(cache, ignore_errors=True)
        self._compare(to, held, "reads by plan")

    def _compare(self, to: Path, held: dict[tuple[str, str], Made], what: str) -> None:
        for (_, path), made in held.items():
            assert (to / path).read_bytes() == made.data, (made.kind, path)
        self.summary.count(what, len(held))
        shutil.rmtree(to)

    # --- meanwhile ---

    def work(self) -> None:
        """Jobs, half of them with streams for all but small tensors; a base may go meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            if self.chance.often(0.5):
                nbytes = self.chance.draws.choice(STREAMED_NBYTES)
                for module in SHRUNK:
                    patch.setattr(f"app.deltas.{module}.STREAMED_NBYTES", nbytes)
            if self.chance.often(0.3):
                for _ in range(self.chance.draws.randrange(10)):
                    run_one(self.hub, HANDLERS, "torture")
                self.drop(self.chance.draws.choice(sorted(self.repos)))
            drain(self.hub, HANDLERS)
            if self.chance.often(0.08):
                self.optimise()
        with self.hub.db.read() as session:
            bad = select(Job.kind, Job.state, Job.attempts, Job.error)
            bad = bad.where((Job.state != "done") | (Job.attempts != 1))
            assert not (found := session.execute(bad).all()), found

    def optimise(self) -> None:
        """All that is stored was decided on by an older encoder, and is to be optimised."""
        with self.hub.db.write() as session:
            session.execute(update(Encoding).values(encoder=0))
            owe_reencoding(session, self.hub)
            owe_optimising(session, self.hub)
        drain(self.hub, HANDLERS)
        self.summary.count("optimised hubs")

    def drop(self, repo: str) -> None:
        """A repository goes, and what only it used."""
        delete_repo(self.hub, self.row(repo))
        del self.repos[repo]
        collect(self.hub, now=True)
        self.summary.count("repositories deleted")

    def leap(self) -> None:
        """A month passes; rows and bucket are looked at."""
        self.hub.clock.sleep(30 * DAY_S)
        forget_all(self.directory)
        sweep_store(JobContext(self.hub, 0, {}))
        collect_garbage(JobContext(self.hub, 0, {}))
        drain(self.hub, HANDLERS)
        collect(self.hub, now=True)
        report = fsck(self.hub, deep=True)
        assert report.clean, report.problems
        self.summary.count("checks of all rows and objects")

    def finish(self) -> None:
        """All goes, and nothing is left."""
        for repo in list(self.repos):
            self.drop(repo)
        self.leap()
        self.leap()
        with self.hub.db.read() as session:
            assert not session.scalar(select(func.count()).select_from(File))
        assert not list(self.hub.store.list())

    def count_peaks(self) -> None:
        """What is held at once, here and in the bucket."""
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        stored = sum(stat.nbytes for stat in self.hub.store.list()) >> 20
        for what, number in (("MiB of memory at most", rss), ("MiB stored at most", stored)):
            self.summary.counts[what] = max(self.summary.counts.get(what, 0), number)

    def count_codecs(self, after: int) -> int:
        """What the contents beyond an id were stored as; the newest."""
        with self.hub.db.read() as session:
            for codec, is_delta, number in session.execute(
                select(Encoding.codec, Encoding.base_id.is_not(None), func.count())
                .where(Encoding.content_id > after)
                .group_by(Encoding.codec, Encoding.base_id.is_not(None))
            ):
                self.summary.count(f"contents as {codec}{' on a base' * is_delta}", number)
            return session.scalar(select(func.max(Encoding.content_id))) or after


def lfs_links(client: httpx.Client, repo: str, files: Sequence[bytes]) -> list[str]:
    """Where git-lfs downloads files."""
    objects = [{"oid": hashlib.sha256(each).hexdigest(), "size": len(each)} for each in files]
    body = {"operation": "download", "transfers": ["basic"], "objects": objects}
    answer = client.post(f"/{repo}.git/info/lfs/objects/batch", json=body).raise_for_status()
    return [each["actions"]["download"]["href"] for each in answer.json()["objects"]]


def play(shelf: Shelf, wanted: int, ends: float) -> None:
    """Rounds until there were as many files as are wanted."""
    maker, newest = Maker(shelf.chance), 0
    for turn in count():
        left = wanted - shelf.summary.counts.get("files", 0)
        if left <= 0 or time.monotonic() > ends:
            break
        repos: list[str] = []
        for number in range(REPOS):
            repo = f"{shelf.chance.draws.choice(OWNERS)}/r{turn}-{number}"
            left -= shelf.fill(repo, maker, left)
            repos.append(repo)
            if left <= 0:
                break
        shelf.check(repos, ranges=1)
        shelf.work()
        newest = shelf.count_codecs(newest)
        shelf.check([repo for repo in repos if repo in shelf.repos], ranges=2)
        if shelf.repos and (turn == 0 or shelf.chance.often(0.5)):
            shelf.check_from_outside(shelf.chance.draws.choice(list(shelf.repos)))
        while len(shelf.repos) > KEPT:
            shelf.drop(next(iter(shelf.repos)))
        shelf.check(list(shelf.repos), ranges=0)
        if turn % 10 == 9:
            shelf.leap()
        shelf.count_peaks()
    shelf.finish()


@contextmanager
def served(settings: Settings, directory: Path, summary: Summary) -> Iterator[Shelf]:
    """An empty hub in this process, whose jobs run when they are told to."""
    limits = settings.limits.model_copy(
        update={"lfs_multipart_nbytes": 200_000, "lfs_part_nbytes": 100_000}
    )
    jobs = settings.jobs.model_copy(update={"threads": 0})
    hub = open_test_hub(settings.model_copy(update={"limits": limits, "jobs": jobs}))
    hub.clock = ClockAhead()
    with closing(hub), running_server(hub) as url:
        yield Shelf(hub, url, directory, Chance(summary.seed), summary)


def forget_all(directory: Path) -> None:
    """Let the stock client forget its tokens, and which xorbs it sent."""
    abort_xet_session()
    XET_CONNECTION_INFO_CACHE.clear()
    shutil.rmtree(directory / "xet", ignore_errors=True)


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where clients of this process keep what they remember."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    forget_all(tmp_path)
    return tmp_path


def attack(mode: str, settings: Settings, clients: Path, share: int, tell: Tell) -> None:
    with told(f"files, {mode}", tell) as summary:
        wanted = budget("FILES", short=160, long=100_000) // share
        wanted -= Ledger(summary.attack).totals()["files"]
        with served(settings, clients, summary) as shelf:
            play(shelf, wanted, time.monotonic() + piece_s())


def test_any_file_comes_back(embedded_settings: Settings, clients: Path, tell: Tell):
    attack("embedded", embedded_settings, clients, 1, tell)


@pytest.mark.attacks
def test_any_file_comes_back_on_production(
    production_settings: Settings, clients: Path, tell: Tell
):
    """A tenth as many."""
    attack("production", production_settings, clients, 10 if IS_LONG else 1, tell)


def test_one_wrong_byte_is_noticed(
    embedded_settings: Settings, clients: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
):
    """The attack itself would see what it looks for."""
    parts = count()

    class Slipping(FileReader):
        def stream(self, start: int, stop: int) -> Iterator[memoryview]:
            for part in super().stream(start, stop):
                data = bytearray(part)
                if data and next(parts) == 100:
                    data[-1] ^= 1
                yield memoryview(data)

    monkeypatch.setattr("tests.torture.test_files.FileReader", Slipping)
    monkeypatch.delenv("TORTURE_LEDGER", raising=False)
    monkeypatch.setenv("TORTURE_FILES", "160")
    with pytest.raises(AssertionError):
        attack("embedded, with a slip", embedded_settings, clients, 1, tell)
    assert next(parts) > 100
