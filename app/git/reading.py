"""What pushed objects say: trees, commits, tags and LFS pointers, each read strictly.

Source: git's gitformat-commit and fsck messages; git-lfs ``docs/spec.md``, version 1. What is
stored must hash to the same id again, so that a form git would merely warn about is refused.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from dulwich.errors import ObjectFormatException
from dulwich.objects import Commit, Tag

from app.catalog.git_objects import (
    DIRECTORY_MODE,
    EXECUTABLE_MODE,
    FILE_MODE,
    LINK_MODE,
    SUBMODULE_MODE,
    GitEntry,
    commit_parents,
    lfs_pointer,
    tree_body,
)
from app.errors import InvalidRequest, LimitExceeded
from app.settings import Limits

MODES = frozenset({DIRECTORY_MODE, FILE_MODE, EXECUTABLE_MODE, LINK_MODE})
POINTER_NBYTES = 1024
"""git-lfs takes nothing longer for a pointer."""

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n"
)
_POINTER_START = b"version https://git-lfs.github.com/spec/"
_HEAD_NBYTES = 64 << 10
"""Headers of a commit, signatures included."""

_LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class PushedCommit:
    """A commit as git made it."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    body: bytes
    title: str
    message: str
    author: str
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class Pointer:
    """What an LFS pointer names."""

    sha256: bytes
    nbytes: int


def read_commit(oid: str, body: bytes, limits: Limits) -> PushedCommit:
    """A commit object. Raises InvalidRequest or LimitExceeded."""
    if len(body) > limits.message_nbytes + _HEAD_NBYTES:
        raise LimitExceeded(f"commit {oid}: too long", setting="limits.message_nbytes")
    try:
        commit = Commit.from_string(body)
        commit.check()
        tree = commit.tree.decode()
        parents = tuple(parent.decode() for parent in commit.parents)
        text = _text(commit.message, commit.encoding)
        author = _text(commit.author, commit.encoding).rpartition(" <")[0]
        seconds = commit.commit_time
    except (ObjectFormatException, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InvalidRequest(f"commit {oid} is malformed: {error}") from None
    if parents != commit_parents(body) or not body.startswith(b"tree %b\n" % tree.encode()):
        raise InvalidRequest(f"commit {oid} is malformed: its headers are out of order")
    if b"\0" in body:
        raise InvalidRequest(f"commit {oid} is malformed: it holds a NUL")
    title, _, message = text.partition("\n")
    return PushedCommit(
        oid=oid,
        tree=tree,
        parents=parents,
        body=body,
        title=title,
        message=message.strip("\n"),
        author=author[:256],
        committed_at=datetime.fromtimestamp(min(max(seconds, 0), _LAST_SECOND), UTC),
    )


def read_tag(oid: str, body: bytes, limits: Limits) -> str:
    """The commit that an annotated tag names. Raises InvalidRequest for any other tag."""
    if len(body) > limits.message_nbytes + _HEAD_NBYTES:
        raise LimitExceeded(f"tag {oid}: too long", setting="limits.message_nbytes")
    try:
        tag = Tag.from_string(body)
        tag.check()
        kind, target = tag.object
    except (ObjectFormatException, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InvalidRequest(f"tag {oid} is malformed: {error}") from None
    if kind is not Commit:
        raise InvalidRequest(f"tag {oid}: only commits can be tagged on this hub")
    return target.decode()


def read_tree(oid: str, body: bytes) -> list[GitEntry]:
    """The entries of a tree object, in its order. Raises InvalidRequest."""
    entries: list[GitEntry] = []
    at = 0
    try:
        while at < len(body):
            space = body.index(b" ", at, at + 8)
            end = body.index(b"\0", space)
            name = body[space + 1 : end].decode()
            entries.append(
                GitEntry(name, body[at:space].decode("ascii"), body[end + 1 : end + 21].hex())
            )
            at = end + 21
    except ValueError:
        raise InvalidRequest(f"tree {oid} is malformed, or a name in it is not UTF-8") from None
    names = {entry.name for entry in entries}
    if at != len(body) or len(names) != len(entries) or any("/" in name for name in names):
        raise InvalidRequest(f"tree {oid} is malformed")
    for entry in entries:
        if entry.mode == SUBMODULE_MODE:
            raise InvalidRequest(f"{entry.name}: submodules are not served by this hub")
        if entry.mode not in MODES:
            raise InvalidRequest(f"{entry.name}: git mode {entry.mode!a} is not served by this hub")
    if tree_body(entries) != body:
        raise InvalidRequest(f"tree {oid} is malformed: its names are out of order")
    return entries


def read_pointer(data: bytes) -> Pointer | None:
    """The LFS object that a blob points to; None for a plain file.

    Raises InvalidRequest for a pointer that is not in the canonical form.
    """
    if not data.startswith(_POINTER_START) or len(data) > POINTER_NBYTES:
        return None
    match = _POINTER.fullmatch(data)
    if match is None:
        raise InvalidRequest("the LFS pointer is not in the canonical form; add the file anew")
    pointer = Pointer(bytes.fromhex(match[1].decode()), int(match[2]))
    if lfs_pointer(pointer.sha256, pointer.nbytes) != data:
        raise InvalidRequest("the LFS pointer is not in the canonical form; add the file anew")
    return pointer


def _text(data: bytes, encoding: bytes | None) -> str:
    try:
        return data.decode((encoding or b"utf-8").decode("ascii"), "replace").replace("\0", "")
    except (LookupError, UnicodeDecodeError):
        return data.decode("utf-8", "replace").replace("\0", "")
