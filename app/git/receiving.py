"""Taking a push: commands and a pack in, objects checked and stored, one line per ref out.

Source: git's gitprotocol-pack(5), "Pushing Data To a Server". The answer says of every ref what
became of it, so a push that is refused is still a request that succeeded.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.accounts.tokens import Principal
from app.catalog.ref_names import BRANCH, TAG, check_ref_name
from app.db.inserting import batches
from app.db.tables import Repo
from app.errors import HubError, InvalidRequest, LimitExceeded
from app.git.checking import Pushed, check_push
from app.git.names import known_refs
from app.git.objects import BLOBS_NBYTES, GitObject, find_objects
from app.git.pkt import PACK_BAND, PROGRESS_BAND, Mark, PktReader, in_band, pkt
from app.git.publishing import Faults, RefUpdate, publish_push
from app.git.unpacking import UnpackedObjects
from app.hub import Hub
from app.ingest.files import IngestedFile
from app.ingest.inline import ingest_inline

REASON_LENGTH = 200
"""Of a fault in the line of its ref; the whole text goes to the user's terminal beside it."""

_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0]+)")


@dataclass(frozen=True, slots=True)
class _Push:
    updates: list[RefUpdate]
    capabilities: frozenset[bytes]


def receive_push(hub: Hub, principal: Principal, repo: Repo, buffers: Iterable[bytes]) -> bytes:
    """Do what a push asks; the answer's body. Write permission is checked above.

    Raises InvalidRequest for a request whose commands cannot be read; whatever is wrong after them
    is reported inside of the answer.
    """
    reader = PktReader(buffers)
    push = _read_commands(reader, hub.settings.limits.push_refs)
    if not push.updates:
        return b""
    message = ""
    try:
        for each in push.updates:
            _check_ref(each)
        faults: Faults = _apply(hub, principal, repo, push, reader)
    except HubError as error:
        message = error.message
        faults = dict.fromkeys((each.name for each in push.updates), _one_line(message))
        _drain(reader, hub.settings.limits.push_nbytes)
    return _report(push, faults, message)


def _read_commands(reader: PktReader, max_refs: int) -> _Push:
    updates: dict[str, RefUpdate] = {}
    capabilities: frozenset[bytes] = frozenset()
    for line in reader.until_flush():
        if line.startswith(b"shallow "):
            continue
        text, _, words = line.partition(b"\0")
        if not updates:
            capabilities = frozenset(words.split())
        match = _COMMAND.fullmatch(text)
        if match is None:
            raise InvalidRequest("git sent a command that is not understood")
        old, new, name = match[1].decode(), match[2].decode(), match[3].decode("utf-8", "replace")
        if name in updates:
            raise InvalidRequest(f"{name!a} is named twice in one push")
        updates[name] = RefUpdate(name, old, new)
        if len(updates) > max_refs:
            raise LimitExceeded("too many refs in one push", setting="limits.push_refs")
    return _Push(list(updates.values()), capabilities)


def _check_ref(wanted: RefUpdate) -> None:
    if not wanted.name.startswith((BRANCH, TAG)):
        raise InvalidRequest(f"{wanted.name[:120]!a}: only branches and tags can be pushed")
    if not wanted.is_deletion:
        check_ref_name(wanted.name)


def _apply(hub: Hub, principal: Principal, repo: Repo, push: _Push, reader: PktReader) -> Faults:
    limits = hub.settings.limits
    heads = [each.new for each in push.updates if not each.is_deletion]
    with UnpackedObjects(limits) as unpacked:
        if heads:
            unpacked.read_pack(reader, lambda oids: _find_bases(hub, repo, oids))
        pushed = check_push(unpacked, heads, limits)
        _know_old_tags(hub, repo, pushed, heads)
        plain = store_plain(hub, repo, unpacked, pushed)
    atomic = b"atomic" in push.capabilities
    return publish_push(hub, principal, repo, push.updates, pushed, plain, atomic=atomic)


def _find_bases(hub: Hub, repo: Repo, oids: Iterable[str]) -> Iterator[GitObject]:
    yield from find_objects(hub, repo.id, oids)


def _know_old_tags(hub: Hub, repo: Repo, pushed: Pushed, heads: Iterable[str]) -> None:
    """A ref may be given a tag object that is here already: git does not send it again."""
    wanted = pushed.outside.commits & set(heads)
    if not wanted:
        return
    with hub.db.read() as session:
        known = known_refs(session, repo.id, hub.settings.default_branch)
    for oid in wanted & known.tags.keys():
        commit = known.commit_of(oid)
        assert commit is not None
        pushed.outside.commits.remove(oid)
        pushed.tags[oid] = commit, known.tags[oid]


def store_plain(
    hub: Hub, repo: Repo, unpacked: UnpackedObjects, pushed: Pushed
) -> dict[str, IngestedFile]:
    """Plain files by blob id, stored a few MiB at a time."""
    stored: dict[str, IngestedFile] = {}
    for group in _groups(unpacked, list(pushed.plain)):
        files = ingest_inline(hub, [unpacked.body(oid) for oid in group], repo_id=repo.id)
        stored.update(zip(group, files, strict=True))
    return stored


def _groups(unpacked: UnpackedObjects, oids: list[str]) -> Iterator[list[str]]:
    for some in batches(oids):
        group: list[str] = []
        nbytes = 0
        for oid in some:
            if group and nbytes + unpacked.nbytes(oid) > BLOBS_NBYTES:
                yield group
                group, nbytes = [], 0
            group.append(oid)
            nbytes += unpacked.nbytes(oid)
        yield group


def _drain(reader: PktReader, room: int) -> None:
    """Let git finish sending, or it would not read the answer."""
    try:
        while room > 0 and (data := reader.some()):
            room -= len(data)
    except HubError:
        return


def _report(push: _Push, faults: Faults, message: str) -> bytes:
    lines = ["unpack ok\n"]
    for each in push.updates:
        fault = faults[each.name]
        lines.append(f"ok {each.name}\n" if fault is None else f"ng {each.name} {fault}\n")
    report = pkt(*(line.encode() for line in lines), Mark.FLUSH)
    if b"report-status" not in push.capabilities:
        report = b""
    if b"side-band-64k" not in push.capabilities:
        return report
    told = in_band(PROGRESS_BAND, f"{message}\n".encode()) if message else b""
    return told + in_band(PACK_BAND, report) + pkt(Mark.FLUSH)


def _one_line(message: str) -> str:
    return " ".join(message.split())[:REASON_LENGTH]
