"""Ways in: a batch of files sent and committed as each kind of client does."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from app.accounts.tokens import Principal
from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid, object_oid
from app.catalog.operations import AddFile, AddLfsFile
from app.catalog.refs import BRANCH
from app.db.tables import Repo
from app.git.receiving import receive_push
from app.hub import Hub
from app.ingest.inline import ingest_inline
from app.lfs import capability
from app.lfs.batch import WantedObject, plan_uploads
from app.lfs.multipart import CompletedPart, complete_upload, store_part
from app.lfs.objects import store_object
from app.xet import xorb
from app.xet.register import register_shard
from app.xet.shard import parse_shard
from app.xet.staging import has_xorb, store_xorb
from app.xet.tokens import XetGrantee
from tests.fixtures.ingested import in_chunks
from tests.fixtures.packs import commit, pack, push, tree, whole
from tests.fixtures.xorbs import BuiltXorb, Run, build_shard, file_block
from tests.torture.files import Made
from tests.torture.weights import Chance

GIT_NBYTES = 1 << 20
XORB_NBYTES = 8 << 20
COMMIT_NBYTES = 10 << 20
CHUNKS = (8 << 10, 50_000, 100_000, xorb.CHUNK_RAW_NBYTES)
SCHEMES = (xorb.AS_IS, xorb.LZ4, xorb.GROUPED_LZ4)


@dataclass(frozen=True)
class Sender:
    """Somebody who sends files to a repository of his."""

    hub: Hub
    url: str
    token: str
    who: Principal
    repo: Repo
    name: str
    """``owner/name``."""
    chance: Chance

    def commit(self, operations: Sequence[AddFile | AddLfsFile]) -> str:
        """To the default branch, whose name this answers."""
        apply_commit(self.hub, self.who, self.repo, BRANCH + "main", operations, title="files")
        return "main"


Entry = Callable[[Sender, Sequence[Made]], str]
"""Sends and commits; answers the branch on which they are, below the same paths."""


def inside_a_commit(sender: Sender, files: Sequence[Made]) -> str:
    stored = ingest_inline(sender.hub, [each.data for each in files], repo_id=sender.repo.id)
    return sender.commit(
        [
            AddFile(each.path, file.file_id, blob_oid(each.data))
            for each, file in zip(files, stored, strict=True)
        ]
    )


def lfs(sender: Sender, files: Sequence[Made]) -> str:
    """Basic transfers, and in parts what is long enough for it."""
    hub, chance = sender.hub, sender.chance
    wanted = [WantedObject(_sha256(each).hex(), len(each.data)) for each in files]
    batch = plan_uploads(hub, sender.who, sender.repo, wanted, can_multipart=chance.often(0.5))
    for each, answer in zip(files, batch.answers, strict=True):
        assert answer.error is None, answer.error
        if answer.link is None:
            continue
        if not answer.parts:
            leave = capability.read(hub, answer.link, "PUT")
            step = chance.draws.choice((1000, 65_536, 5 << 20))
            store_object(hub, leave, in_chunks(each.data, max(step, len(each.data) // 50)))
            continue
        leave = capability.read(hub, answer.link, "PARTS")
        parts = [
            CompletedPart(number, store_part(hub, leave, number, [part]))
            for number, part in enumerate(in_chunks(each.data, answer.part_nbytes), 1)
        ]
        complete_upload(hub, leave, parts)
    return sender.commit([AddLfsFile(each.path, _sha256(each), len(each.data)) for each in files])


def xet(sender: Sender, files: Sequence[Made]) -> str:
    """The chunks of all files in few xorbs and one shard; what is empty goes inside the commit."""
    hub, draws, account = sender.hub, sender.chance.draws, sender.who.account_id
    sent = {each.data: None for each in files if each.data}
    runs = _runs(list(sent), draws.choice(CHUNKS), draws.choice(SCHEMES))
    for built in {built for each in runs for built, _, _ in each}:
        if not has_xorb(hub, account, built.digest):
            store_xorb(hub, account, built.digest, in_chunks(built.stored, 1 << 20))
    parsed = parse_shard(build_shard(*map(file_block, runs)), hub.settings.limits)
    register_shard(hub, XetGrantee(account, sender.repo.id), parsed, lambda _done, _all: None)
    [empty] = ingest_inline(hub, [b""], repo_id=sender.repo.id)
    return sender.commit(
        [
            AddLfsFile(each.path, _sha256(each), len(each.data))
            if each.data
            else AddFile(each.path, empty.file_id, blob_oid(b""))
            for each in files
        ]
    )


def _runs(files: Sequence[bytes], chunk_nbytes: int, scheme: int) -> list[list[Run]]:
    """Where the chunks of each file lie in xorbs that are full before the next one begins."""
    chunks = [
        (number, part)
        for number, data in enumerate(files)
        for part in in_chunks(data, chunk_nbytes)
    ]
    runs: list[list[Run]] = [[] for _ in files]
    most = XORB_NBYTES // chunk_nbytes
    for first in range(0, len(chunks), most):
        some = chunks[first : first + most]
        built = BuiltXorb(tuple(part for _, part in some), scheme)
        for number, group in groupby(range(len(some)), key=lambda at: some[at][0]):
            places = list(group)
            runs[number].append((built, places[0], places[-1] + 1))
    return runs


def git(sender: Sender, files: Sequence[Made]) -> str:
    """A push of plain files to a branch of their own."""
    branch = f"pushed{sender.chance.draws.randrange(1 << 40)}"
    blobs = {each.data: ("blob", each.data) for each in files}
    folders: dict[str, list[tuple[str, str, str]]] = {"": []}
    for each in files:
        folder, _, name = each.path.rpartition("/")
        while folder not in folders:
            folders[folder] = []
            folder = folder.rpartition("/")[0]
        folder = each.path.rpartition("/")[0]
        folders[folder].append(("100644", name, blob_oid(each.data)))
    trees: list[tuple[str, bytes]] = []
    for folder in sorted(folders, key=lambda path: -len(path)):
        made = ("tree", tree(*sorted(folders[folder], key=_git_order)))
        trees.append(made)
        above, _, name = folder.rpartition("/")
        if folder:
            folders[above].append(("40000", name, object_oid(*made)))
    head = ("commit", commit(object_oid(*trees[-1])))
    objects = [*blobs.values(), *dict.fromkeys(trees), head]
    packed = pack(whole(kind, each) for kind, each in objects)
    body = push(object_oid(*head), packed, ref=BRANCH + branch)
    answer = receive_push(sender.hub, sender.who, sender.repo, [body])
    assert b"ok refs/heads/" in answer, answer
    return branch


def _git_order(entry: tuple[str, str, str]) -> bytes:
    mode, name, _ = entry
    return name.encode() + (b"/" if mode == "40000" else b"")


def stock_client(sender: Sender, files: Sequence[Made]) -> str:
    """huggingface_hub over HTTP: small ones inside the commit, the others by Xet or LFS."""
    operations = [CommitOperationAdd(each.path, each.data) for each in files]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", sender.chance.often(0.5))
        HfApi(endpoint=sender.url, token=sender.token).create_commit(
            sender.name, operations, commit_message="files"
        )
    return "main"


def _sha256(each: Made) -> bytes:
    return hashlib.sha256(each.data).digest()


def is_for_git(each: Made) -> bool:
    return len(each.data) <= GIT_NBYTES


def is_for_a_commit(each: Made) -> bool:
    return len(each.data) <= COMMIT_NBYTES


def is_for_stock_client(each: Made) -> bool:
    """The client itself looks into cards before it sends them, and refuses those it dislikes."""
    return not each.path.endswith("README.md") and ".git" not in each.path


def anything(_each: Made) -> bool:
    return True


ENTRIES: dict[str, tuple[float, Entry, Callable[[Made], bool], int]] = {
    "inside a commit": (40, inside_a_commit, is_for_a_commit, 1000),
    "LFS": (20, lfs, anything, 4),
    "Xet": (20, xet, anything, 4),
    "git": (15, git, is_for_git, 30),
    "client": (5, stock_client, is_for_stock_client, 12),
}
"""How often each, what it does, which files it takes and how many: what costs more is sent less."""


def send(sender: Sender, files: Sequence[Made]) -> Iterator[tuple[str, str, Sequence[Made]]]:
    """Send files; of each entry used: its name, the branch, and what went by it."""
    left = list(files)
    while left:
        [name] = sender.chance.draws.choices(
            list(ENTRIES), [weight for weight, _, _, _ in ENTRIES.values()]
        )
        _, entry, takes, most = ENTRIES[name]
        some = [each for each in left if takes(each)][:most]
        if some:
            yield name, entry(sender, some), some
            gone = set(map(id, some))
            left = [each for each in left if id(each) not in gone]
