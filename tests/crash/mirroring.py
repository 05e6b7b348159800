"""What a mirror does while it dies: its upstream is away, breaks off, hides; its store rots."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.catalog.repos import set_private
from app.clock import SystemClock
from app.db.tables import AwaitedFile, AwaitedPart, Repo
from app.errors import HubError
from app.mirror.demand import Wanted, demand
from app.mirror.upkeep import fetch_ahead, refresh
from app.mirror.upstream import RepoAddress
from app.mirror_settings import Mirror
from app.settings import Settings
from tests.crash.damage import zeroed
from tests.crash.histories import delete
from tests.crash.samples import random_bytes
from tests.crash.stage import Act, Stage
from tests.crash.uploads import lfs_upload
from tests.fixtures.api import running_server
from tests.fixtures.mirrors import OBJECT, GoBetween, asked_range, go_between, reply

NAME, PATH = "mirrored", "big.bin"
ADDRESS = RepoAddress("model", "alice", NAME)
BIG = random_bytes(6, 200_000)
PART_NBYTES = 64 << 10


@contextmanager
def upstream_of(settings: Settings, data: Path, migrated: bytes) -> Iterator[tuple[Settings, Any]]:
    """Settings of a hub that mirrors a new one, and the acts that make it do so."""
    data.mkdir()
    (data / "hub.sqlite").write_bytes(migrated)
    stage = Stage(Settings(data=data))
    stage.hub.clock = SystemClock()
    stage.create(NAME)
    lfs_upload(NAME, PATH, BIG)(stage)
    with running_server(stage.hub) as url, go_between(url) as between:
        mirror = Mirror(negative_s=0, fresh_s=0, part_nbytes=PART_NBYTES, lines=2)  # pyright: ignore[reportCallIssue]
        # Whoever waits asks again for what was given up; here one job dies and fails over and over.
        jobs = settings.jobs.model_copy(update={"max_attempts": 1_000})
        update = {"upstream": between.url, "mirror": mirror, "jobs": jobs}
        yield settings.model_copy(update=update), _acts(stage, between)
    stage.hub.close()


def _acts(upstream: Stage, between: GoBetween) -> list[tuple[str, Act]]:
    def hide(stage: Stage) -> None:
        """The upstream shows us the repo no more, then again."""
        for private in (True, False):
            set_private(upstream.hub, upstream.repo(NAME), private)
            refresh(stage.hub, ADDRESS)

    def fail(stage: Stage) -> None:
        """Somebody reads while the upstream is away."""
        between.is_down = True
        _read(stage)
        between.is_down = False

    def rot(stage: Stage) -> None:
        """The first part comes, and rots; the file comes all the same."""
        between.tamper = _first_part_only
        _read(stage)
        between.tamper = None
        if _count_parts(stage):
            stage.harm(zeroed, purpose="part")
        for _ in range(3):  # the attempt that notices, and those after it
            _read(stage)
        stage.is_harmed = False
        assert _find_awaited(stage) is None
        stage.acknowledged[NAME, "main", PATH] = BIG

    def ahead(stage: Stage) -> None:
        fetch_ahead(stage.hub, ADDRESS, None)

    return [
        ("mirror", _refresh),
        ("mirror, unchanged", _refresh),
        ("mirror what is hidden", hide),
        ("fetch ahead", ahead),
        ("read what cannot be fetched", fail),
        ("read what rots", rot),
        ("delete the mirror", delete(NAME)),
    ]


def _refresh(stage: Stage) -> None:
    refresh(stage.hub, ADDRESS)


def _read(stage: Stage) -> None:
    """A range of the file, if it is not here yet; what comes of it is seen by whoever asks next."""
    wanted = _find_awaited(stage)
    if wanted is not None:
        with suppress(HubError):
            demand(stage.hub, wanted, wanted.nbytes // 2, wanted.nbytes)
    stage.clock.advance(10)
    stage.run_jobs()


def _find_awaited(stage: Stage) -> Wanted | None:
    with stage.hub.db.read() as session:
        row = session.scalar(
            select(AwaitedFile)
            .join(Repo, Repo.id == AwaitedFile.repo_id)
            .where(Repo.key == f"model/alice/{NAME}")
        )
    return None if row is None else Wanted(row.repo_id, row.oid, row.nbytes)


def _count_parts(stage: Stage) -> int:
    with stage.hub.db.read() as session:
        return len(session.scalars(select(AwaitedPart.start)).all())


def _first_part_only(_between: GoBetween, handler: Any) -> bool:
    is_later = handler.path.startswith(OBJECT) and asked_range(handler)[0] > 0
    return is_later and reply(handler, 500)
