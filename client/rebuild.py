"""One big file, put together from stored bytes: planned, assembled, verified, given its name."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from dataclasses import dataclass
from pathlib import Path

from client.assembly import Assembly, Part, Task
from client.errors import DamagedDownload, StaleLocation
from client.hub import HubClient, RemoteFile, RepoName
from client.local import LocalContents
from client.part import PartFile
from client.plan import Extent, RestorePlan
from client.prefix import PrefixDigest

PLANS = 5
"""How often a file is planned anew because stored bytes moved."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a commit on a hub."""

    hub: HubClient
    repo: RepoName
    commit: str
    file: RemoteFile

    def plan(self) -> RestorePlan:
        """A fresh restore plan."""
        plan = self.hub.plan(self.repo, self.commit, self.file.path)
        if (plan.sha256, plan.nbytes) != (self.file.sha256, self.file.nbytes):
            raise DamagedDownload(f"{self.file.path}: the hub's plan is for another file")
        return plan

    def read_extent(self, extent: Extent, start: int, sink: memoryview) -> None:
        """Fill ``sink`` with stored bytes."""
        self.hub.read_extent(extent, start, sink)

    def read_plain(self, start: int, sink: memoryview) -> None:
        """Fill ``sink`` with bytes of the file."""
        self.hub.read_file(self.repo, self.commit, self.file.path, start, sink)


def rebuild(
    source: HubFile,
    target: Path,
    *,
    parts: Path,
    local: LocalContents,
    pool: Executor,
    advance: Callable[[int], None],
) -> None:
    """Leave the verified file at ``target``; unfinished work stays in ``parts`` for the next time.

    ``advance`` is told of every run of bytes that has come to be. Raises DamagedDownload if the
    file cannot be had intact, else what the hub client raises.
    """
    plan = source.plan()
    with PartFile(parts, plan) as part:
        digest = PrefixDigest(part.bytes, plan.segments)

        def finish(numbers: Sequence[int]) -> None:
            part.finish([number for number in numbers if number not in part.done])
            digest.finish(numbers)
            advance(sum(plan.segments[number].nbytes for number in numbers))

        try:
            finish(sorted(part.done))
            fill(source, plan, part, local, pool, finish)
            part.sync()  # beside the last of the hashing
            if digest.result() != plan.sha256:
                part.discard()
                raise DamagedDownload(f"{source.file.path}: wrong SHA-256 after download")
        finally:
            digest.stop()
        part.promote(target)
    contents = [
        (plan.contents[segment.content].digest, segment.start, segment.nbytes)
        for segment in plan.segments
    ]
    local.pulled.add(target, contents)


def fill(
    source: HubFile,
    plan: RestorePlan,
    part: Part,
    local: LocalContents,
    pool: Executor,
    finish: Callable[[Sequence[int]], None],
    *,
    keep: bool = False,
) -> None:
    """Put in place, verified, every segment that ``part`` lacks; ``finish`` is told of each.

    ``keep``: what was fetched stays in the cache. Raises DamagedDownload if the hub has no intact
    bytes, else what the hub client raises.
    """
    for _ in range(PLANS):
        try:
            _run(pool, Assembly(source, plan, part, local, finish, keep=keep).tasks())
        except StaleLocation:
            plan = source.plan()
        else:
            return
    raise DamagedDownload(f"{source.file.path}: stored bytes keep moving; try again later")


def _run(pool: Executor, tasks: Sequence[Task]) -> None:
    """Run all tasks; the first error cancels those not begun and is raised."""
    futures = [pool.submit(task) for task in tasks]
    try:
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
