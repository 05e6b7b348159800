"""A flipped bit or a missing object, for every kind of object, on both kinds of stores."""

import contextlib
import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import select
from starlette.testclient import TestClient

from app.contents import packs
from app.db.tables import (
    AwaitedFile,
    AwaitedPart,
    Encoding,
    File,
    FormerEncoding,
    LfsPart,
    LfsUpload,
    Segment,
    StoredObject,
    Xorb,
)
from app.deltas import recode
from app.gc.collect import collect
from app.gc.fsck import FsckReport, fsck
from app.gc.repair import repair
from app.hub import Hub
from app.lfs.capability import Capability
from app.lfs.multipart import store_part
from app.main import create_app
from app.mirror import parts as fetched
from app.settings import Settings
from tests.app.xet.test_register import Uploader
from tests.fixtures.files import safetensors_of
from tests.fixtures.hub import open_test_hub
from tests.fixtures.models import ModelHub, base_weights, tuned
from tests.fixtures.services import S3Server, empty_database
from tests.fixtures.xorbs import build_xorb, file_block

TENSOR = "embed_tokens.weight"
RNG = np.random.default_rng(5)
BLOB = RNG.bytes(300_000)
AWAITED = "0" * 40
RESTING = safetensors_of({"t": ("U8", [150_000], RNG.bytes(150_000))})

Place = tuple[str, int]
"""Key of an object and offset of a byte in it."""


@dataclass
class Stock:
    """A hub with objects of every kind."""

    models: ModelHub
    client: TestClient

    @property
    def hub(self) -> Hub:
        return self.models.hub

    def tensor(self, repo: str, table: type[Encoding] | type[FormerEncoding] = Encoding) -> Place:
        content = self.models.encodings(repo)[TENSOR].content_id
        return self._place(
            select(StoredObject.key, table.start, table.nbytes)
            .join(table, table.object_id == StoredObject.id)
            .where(table.content_id == content)
        )

    def segment(self, data: bytes, role: str) -> Place:
        """Where a segment of a file lies."""
        return self._place(
            select(StoredObject.key, Encoding.start, Encoding.nbytes)
            .join(Encoding, Encoding.object_id == StoredObject.id)
            .join(Segment, Segment.content_id == Encoding.content_id)
            .join(File, File.id == Segment.file_id)
            .where(File.sha256 == hashlib.sha256(data).digest(), Segment.role == role)
        )

    def xorb(self) -> Place:
        return self._place(
            select(StoredObject.key, Xorb.id * 0, StoredObject.nbytes).join(
                Xorb, Xorb.object_id == StoredObject.id
            )
        )

    def part(self, table: type[LfsPart] | type[AwaitedPart]) -> Place:
        return self._place(
            select(StoredObject.key, StoredObject.id * 0, StoredObject.nbytes).join(
                table, table.object_id == StoredObject.id
            )
        )

    def bytes_of(self, key: str) -> bytes:
        stat = self.hub.store.stat(key)
        assert stat is not None
        return self.hub.store.read(key, 0, stat.nbytes)

    def damage(self, place: Place, how: str) -> bytes:
        """Flip a bit, or lose the object; what it was."""
        key, at = place
        was = self.bytes_of(key)
        self.hub.store.delete(key)
        if how == "flipped":
            self.hub.store.put(key, [was[:at], bytes([was[at] ^ 0x10]), was[at + 1 :]])
        return was

    def restore(self, key: str, was: bytes, *, upload: bool) -> None:
        """The store has the bytes again, and the hub knows."""
        self.hub.store.delete(key)
        self.hub.store.put(key, [was])
        if upload:  # repair would forget it
            self.check()
        repair(self.hub)
        report = fsck(self.hub)
        assert report.clean, report.problems

    def check(self) -> FsckReport:
        return fsck(self.hub, deep=True, fresh=True)

    def get(self, repo: str, path: str) -> bytes | int:
        """A file as a client gets it: bytes, or the status of a refusal."""
        headers = {"authorization": f"Bearer hf_{repo.partition('/')[0]}"}
        answer = self.client.get(f"/{repo}/resolve/main/{path}", headers=headers)
        return answer.content if answer.status_code == 200 else answer.status_code

    def _place(self, query: object) -> Place:
        with self.hub.db.read() as session:
            key, start, nbytes = session.execute(query).first()  # type: ignore[call-overload,misc]
        return key, start + nbytes // 2


@dataclass(frozen=True)
class Target:
    """Bytes of one kind in the store, and who has them."""

    find: Callable[[Stock], Place]
    kind: str = "damaged-content"
    """Of the finding that a flipped bit must give."""
    suffers: tuple[str, str] | None = None
    """Repository and path."""
    dependent: tuple[str, str] | None = None


MODEL = "model.safetensors"
TARGETS = {
    "frame": Target(
        lambda stock: stock.tensor("alice/base"),
        suffers=("alice/base", MODEL),
        dependent=("bob/tune", MODEL),
    ),
    "delta": Target(lambda stock: stock.tensor("bob/tune"), suffers=("bob/tune", MODEL)),
    "object of one frame": Target(
        lambda stock: stock.tensor("alice/big"), suffers=("alice/big", MODEL)
    ),
    "upload": Target(lambda stock: stock.tensor("alice/raw"), suffers=("alice/raw", MODEL)),
    "literal": Target(
        lambda stock: stock.segment(stock.models.pushed["alice/raw"][MODEL], "literal"),
        suffers=("alice/raw", MODEL),
    ),
    "chunk": Target(lambda stock: stock.segment(BLOB, "chunk"), suffers=("alice/raw", "blob.bin")),
    "resting in a xorb": Target(lambda stock: stock.segment(RESTING, "tensor")),
    "replaced": Target(
        lambda stock: stock.tensor("alice/kept", FormerEncoding), kind="damaged-spare"
    ),
    "staged xorb": Target(Stock.xorb, kind="damaged-xorb"),
    "part": Target(lambda stock: stock.part(LfsPart), kind="damaged-part"),
    "awaited part": Target(lambda stock: stock.part(AwaitedPart), kind="damaged-part"),
}


WAYS = pytest.mark.parametrize(
    ("stock", "how"),
    [
        ("embedded", "flipped"),
        ("embedded", "missing"),
        ("production", "flipped"),
        pytest.param("production", "missing", marks=pytest.mark.attacks),
    ],
    indirect=["stock"],
    scope="module",
)
"""Modes of the hub, and what becomes of the bytes."""


@pytest.fixture(scope="module")
def stock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stock]:
    """A stocked hub in each mode; whoever damages it puts it right again."""
    data = tmp_path_factory.mktemp("stock")
    with contextlib.ExitStack() as stack:
        if request.param == "embedded":
            (data / "hub.sqlite").write_bytes(request.getfixturevalue("migrated_sqlite"))
            settings = Settings(data=data)
        else:
            template = request.getfixturevalue("postgres_template")
            server: S3Server = request.getfixturevalue("s3_server")
            url = empty_database(request.getfixturevalue("postgres_server"), f"TEMPLATE {template}")
            settings = Settings(
                data=data,
                database_url=SecretStr(stack.enter_context(url)),
                store_url=server.url(f"clade-{uuid.uuid4().hex[:12]}"),
                s3_access_key=SecretStr(server.access_key),
                s3_secret_key=SecretStr(server.secret_key),
            )
        hub = open_test_hub(settings)
        yield _stocked(hub)
        hub.close()


def _stocked(hub: Hub) -> Stock:
    models = ModelHub(hub)
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/tune", tuned(base, 1))
    models.run_jobs()
    with pytest.MonkeyPatch.context() as patch:
        for module in (packs, recode):
            patch.setattr(module, "PACK_NBYTES", 10_000)
        models.push("alice/big", base_weights(7))
        models.run_jobs()
    collect(hub, now=True)  # from here on nothing above has a second copy
    kept = base_weights(9)
    models.push("alice/kept", kept)
    models.run_jobs()
    models.push("bob/kept", tuned(kept, 1))
    models.run_jobs()
    carol = Uploader(hub, "carol")
    resting = build_xorb(RESTING, chunk_nbytes=30_000)
    carol.send(resting)
    carol.register(file_block([(resting, 0, len(resting.chunks))]))
    carol.send(build_xorb(RNG.bytes(100_000)))
    models.push("alice/raw", base_weights(8))
    models.push("alice/raw", {"blob.bin": BLOB})
    repo = models.repo("alice/raw")
    part = RNG.bytes(50_000)

    def begin(session):
        session.add(
            LfsUpload(
                id="upload",
                repo_id=repo.id,
                account_id=carol.user.account_id,
                sha256=hashlib.sha256(part * 2).digest(),
                size=100_000,
                part_nbytes=50_000,
                expires_at=hub.clock.now() + timedelta(days=1),
            )
        )
        awaited = {"repo_id": repo.id, "oid": AWAITED, "sha256": bytes(32), "nbytes": 100_000}
        session.add(AwaitedFile(**awaited, touched_at=hub.clock.now()))

    hub.db.run(begin)
    fetched.store_part(hub, repo.id, AWAITED, 0, [part[::-1]])
    alice, digest = models.user("alice"), hashlib.sha256(part * 2).digest()
    leave = Capability(
        "PARTS", repo.id, alice.account_id, digest, 100_000, "upload", alice.token_id
    )
    store_part(hub, leave, 1, [part])
    stock = Stock(models, TestClient(create_app(hub), raise_server_exceptions=False))
    report = stock.check()
    assert report.clean, report.problems
    return stock


@WAYS
@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_found_named_and_never_served(stock: Stock, name: str, how: str):
    target = TARGETS[name]
    place = target.find(stock)
    was = stock.damage(place, how)
    try:
        if target.suffers is not None:
            assert stock.get(*target.suffers) in {500, 503}
        repo, path = ("alice/kept", MODEL) if name == "chunk" else ("alice/raw", "blob.bin")
        assert stock.get(repo, path) == stock.models.pushed[repo][path], "others go on"

        report = stock.check()

        if how == "flipped":
            assert {problem.kind for problem in report.problems} == {target.kind}
        elif name == "replaced":
            assert report.clean, "a spare that is gone harms nobody"
        else:
            assert "lost-object" in {problem.kind for problem in report.problems}
        places = {place for problem in report.problems for place in problem.places}
        dependents = {place for problem in report.problems for place in problem.dependents}
        if target.suffers is not None:
            assert _named(target.suffers) in places
        if target.dependent is not None:
            assert _named(target.dependent) in dependents
            assert stock.get(*target.dependent) in {500, 503}
    finally:
        stock.restore(place[0], was, upload=name in {"staged xorb", "part", "awaited part"})


def _named(where: tuple[str, str]) -> str:
    return f"model/{where[0]}@main:{where[1]}"


@WAYS
@pytest.mark.parametrize("repo", ["alice/kept", "bob/kept"])
def test_what_has_another_copy_is_served_and_repaired(stock: Stock, repo: str, how: str):
    stock.damage(stock.tensor(repo), how)
    assert stock.get(repo, MODEL) == stock.models.pushed[repo][MODEL]
    assert not stock.check().clean

    done = repair(stock.hub)

    assert done.repaired > 0
    assert done.left == 0
    report = stock.check()
    assert report.clean, report.problems
    assert stock.get(repo, MODEL) == stock.models.pushed[repo][MODEL]
