"""True git ids: SHA-1 of blobs, trees and commits exactly as git computes them.

Source: git's documentation, gitformat-pack and git-hash-object; the pointer text is git-lfs
docs/spec.md, version 1. SHA-1 here names history the way git does; bytes are identified by SHA-256.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

DIRECTORY_MODE = "40000"
FILE_MODE = "100644"
EXECUTABLE_MODE = "100755"
LINK_MODE = "120000"
SUBMODULE_MODE = "160000"


@dataclass(frozen=True, slots=True)
class GitEntry:
    """One name in a git tree."""

    name: str
    mode: str
    oid: str


def object_oid(kind: str, body: bytes) -> str:
    """Id of any git object from its type and content."""
    digest = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(body)), usedforsecurity=False)
    digest.update(body)
    return digest.hexdigest()


def blob_oid(data: bytes) -> str:
    """Id of a file's content."""
    return object_oid("blob", data)


def tree_body(entries: Iterable[GitEntry]) -> bytes:
    """A tree object's content. Entries may come in any order."""
    return b"".join(
        b"%s %s\0%s" % (entry.mode.encode(), entry.name.encode(), bytes.fromhex(entry.oid))
        for entry in sorted(entries, key=tree_order)
    )


def tree_order(entry: GitEntry) -> bytes:
    """Git sorts by bytes, a directory as if its name ended in a slash."""
    return entry.name.encode() + (b"/" if entry.mode == DIRECTORY_MODE else b"")


def tree_oid(entries: Iterable[GitEntry]) -> str:
    """Id of a directory."""
    return object_oid("tree", tree_body(entries))


def commit_body(
    *, tree: str, parents: Iterable[str], author: str, email: str, when: datetime, message: str
) -> bytes:
    """A commit object's content, author and committer being the same person in UTC."""
    person = f"{_plain(author)} <{_plain(email)}> {int(when.timestamp())} +0000"
    head = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    head += [f"author {person}", f"committer {person}", "", message]
    return "\n".join(head).encode()


def commit_parents(body: bytes) -> tuple[str, ...]:
    """Ids of a commit's parents, the first one first, from its content."""
    parents: list[str] = []
    for line in body.split(b"\n\n", 1)[0].split(b"\n")[1:]:
        word, _, value = line.partition(b" ")
        if word != b"parent":
            break
        parents.append(value.decode())
    return tuple(parents)


def lfs_pointer(sha256: bytes, nbytes: int) -> bytes:
    """The text that git stores in place of a big file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256.hex()}\nsize {nbytes}\n"
    ).encode()


def _plain(text: str) -> str:
    # git's fsck refuses these inside an identity
    return re.sub(r"[<>\x00-\x1f]", "", text).strip() or "unknown"
