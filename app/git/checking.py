"""Whether a push holds together: every commit, tree and blob that the new refs need, and no other.

This looks at the pack alone; what it leaves to the repo is told as ``outside`` and looked up inside
the transaction that publishes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.catalog.git_objects import DIRECTORY_MODE, LINK_MODE, GitEntry
from app.catalog.paths import check_path, twin_key
from app.errors import InvalidPath, InvalidRequest, LimitExceeded
from app.git.reading import Pointer, PushedCommit, read_commit, read_pointer, read_tag, read_tree
from app.git.unpacking import UnpackedObjects
from app.settings import Limits


@dataclass(slots=True)
class Outside:
    """Ids that the push names and does not bring."""

    commits: set[str] = field(default_factory=set)
    trees: set[str] = field(default_factory=set)
    blobs: dict[str, str] = field(default_factory=dict)
    """Id -> a path where it is."""


@dataclass(slots=True)
class Pushed:
    """What a push brings that its refs reach."""

    commits: list[PushedCommit] = field(default_factory=list)
    trees: dict[str, list[GitEntry]] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    """Blob of a plain file -> a path where it is."""
    pointers: dict[str, Pointer] = field(default_factory=dict)
    """Blob of a pointer -> the LFS object."""
    links: set[str] = field(default_factory=set)
    """Blobs that are targets of symbolic links."""
    paths: dict[bytes, str] = field(default_factory=dict)
    """SHA-256 of an LFS object -> a path where it is."""
    tags: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Annotated tag -> the commit it names, and its body."""
    outside: Outside = field(default_factory=Outside)


def check_push(unpacked: UnpackedObjects, heads: Iterable[str], limits: Limits) -> Pushed:
    """Read everything from ``heads`` down. Raises InvalidRequest and its kind, naming the path."""
    pushed = Pushed()
    commits = [_commit_behind(unpacked, pushed, head, limits) for head in heads]
    _read_commits(unpacked, pushed, commits, limits)
    for commit in pushed.commits:
        _read_trees(unpacked, pushed, commit.tree, limits)
    return pushed


def check_shapes(
    trees: Mapping[str, Iterable[GitEntry]], roots: Iterable[str], limits: Limits
) -> None:
    """Bound what checking a root out would make: a tree named many times counts each time.

    ``trees`` holds all that lies below the roots. Raises LimitExceeded.
    """
    shapes: dict[str, tuple[int, int, int]] = {}
    for root in roots:
        stack = [(root, False)]
        while stack:
            oid, is_below_done = stack.pop()
            if oid in shapes:
                continue
            below = [each for each in trees[oid] if each.mode == DIRECTORY_MODE]
            if not is_below_done:
                stack.append((oid, True))
                stack += [(each.oid, False) for each in below]
                continue
            shapes[oid] = _shape(trees[oid], shapes)
        files, parts, nbytes = shapes[root]
        if files > limits.tree_files:
            raise LimitExceeded("too many files in a commit", setting="limits.tree_files")
        if parts > limits.path_parts:
            raise LimitExceeded("a path has too many parts", setting="limits.path_parts")
        if nbytes > limits.path_nbytes:
            raise LimitExceeded("a path is too long", setting="limits.path_nbytes")


def _shape(
    entries: Iterable[GitEntry], shapes: Mapping[str, tuple[int, int, int]]
) -> tuple[int, int, int]:
    """Files, most parts and most bytes of a path, in a directory whose own are known."""
    files = parts = nbytes = 0
    for entry in entries:
        below = (1, 0, -1)
        if entry.mode == DIRECTORY_MODE:
            below = shapes[entry.oid]
        files += below[0]
        parts = max(parts, below[1] + 1)
        nbytes = max(nbytes, below[2] + 1 + len(entry.name.encode()))
    return files, parts, nbytes


def _commit_behind(unpacked: UnpackedObjects, pushed: Pushed, head: str, limits: Limits) -> str:
    if unpacked.kind(head) != "tag":
        return head
    body = unpacked.body(head)
    commit = read_tag(head, body, limits)
    pushed.tags[head] = commit, body
    return commit


def _read_commits(
    unpacked: UnpackedObjects, pushed: Pushed, heads: Iterable[str], limits: Limits
) -> None:
    """Every new commit, parents first."""
    seen: set[str] = set()
    read: dict[str, PushedCommit] = {}
    stack = [(head, False) for head in heads]
    while stack:
        oid, are_parents_done = stack.pop()
        if are_parents_done:
            pushed.commits.append(read.pop(oid))
            continue
        if oid in seen:
            continue
        seen.add(oid)
        kind = unpacked.kind(oid)
        if kind is None:
            pushed.outside.commits.add(oid)
            continue
        if kind != "commit":
            raise InvalidRequest(f"{oid} is a {kind} where a commit was due")
        read[oid] = read_commit(oid, unpacked.body(oid), limits)
        stack.append((oid, True))
        stack += [(parent, False) for parent in read[oid].parents]


def _read_trees(unpacked: UnpackedObjects, pushed: Pushed, root: str, limits: Limits) -> None:
    stack = [(root, "")]
    while stack:
        oid, prefix = stack.pop()
        if oid in pushed.trees:
            continue
        kind = unpacked.kind(oid)
        if kind is None:
            pushed.outside.trees.add(oid)
            continue
        if kind != "tree":
            raise InvalidRequest(f"{prefix or '/'}: is a {kind} where a tree was due")
        entries = pushed.trees[oid] = read_tree(oid, unpacked.body(oid))
        _refuse_twins(entries, prefix)
        for entry in entries:
            path = check_path(prefix + entry.name, limits)
            if entry.mode == DIRECTORY_MODE:
                stack.append((entry.oid, f"{path}/"))
            else:
                _read_blob(unpacked, pushed, entry, path)


def _read_blob(unpacked: UnpackedObjects, pushed: Pushed, entry: GitEntry, path: str) -> None:
    oid, is_link = entry.oid, entry.mode == LINK_MODE
    if is_link:
        pushed.links.add(oid)
    nbytes = unpacked.oversized_nbytes(oid)
    if nbytes is not None:
        raise LimitExceeded(
            f"{path}: {nbytes} bytes are too many for a plain file in git; track it by git-lfs:"
            f" git lfs migrate import --include={path!r}",
            setting="limits.inline_file_nbytes",
        )
    kind = unpacked.kind(oid)
    if kind is None:
        pushed.outside.blobs.setdefault(oid, path)
        return
    if kind != "blob":
        raise InvalidRequest(f"{path}: is a {kind} where a file was due")
    if oid not in pushed.plain and oid not in pushed.pointers:
        try:
            pointer = read_pointer(unpacked.body(oid))
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}: {error.message}") from None
        if pointer is None:
            pushed.plain[oid] = path
        else:
            pushed.pointers[oid] = pointer
            pushed.paths.setdefault(pointer.sha256, path)
    if is_link and oid in pushed.pointers:
        raise InvalidRequest(f"{path}: a symbolic link cannot be an LFS pointer")


def _refuse_twins(entries: Iterable[GitEntry], prefix: str) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        other = seen.setdefault(twin_key(entry.name), entry.name)
        if other != entry.name:
            raise InvalidPath(
                f"{prefix + entry.name!a}: differs from {prefix + other!a} only in case or Unicode"
                " form"
            )
