"""Answering a fetch: who has what, then one pack, made while it is sent.

Source: git's gitprotocol-pack(5), gitprotocol-v2(5), gitformat-pack(5). Objects are sent whole; one
answer holds a few MiB at a time, and no transaction is open while the client reads.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dulwich.object_format import SHA1
from dulwich.pack import pack_header_chunks, pack_object_chunks
from sqlalchemy.orm import Session

from app.catalog.ancestry import Ancestry
from app.db.tables import Repo
from app.errors import HubError
from app.git import objects
from app.git.asking import FetchRequest
from app.git.history import History, Missing
from app.git.names import KnownRefs, known_refs
from app.git.objects import GitObject
from app.git.pkt import ERROR_BAND, PACK_BAND, PROGRESS_BAND, Mark, in_band, pkt
from app.git.selection import Selection, select_objects
from app.git.wanting import Wants, read_wants
from app.hub import Hub

log = logging.getLogger(__name__)

SEND_NBYTES = 256 << 10
"""The pack is sent in buffers of about this size."""

_NUMBERS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
"""Object types in a pack."""


@dataclass(frozen=True, slots=True)
class _Pack:
    """A request together with the objects that answer it."""

    hub: Hub
    repo_id: int
    known: KnownRefs
    request: FetchRequest
    chosen: Selection


def answer_fetch(hub: Hub, repo: Repo, request: FetchRequest) -> Iterator[bytes]:
    """The answer to one round of version 2.

    All that can be wrong with the request is raised here, before the first byte.
    """
    with hub.db.read() as session:
        known, history, wants = _open(session, hub, repo, request)
        request = replace(request, wants=list(wants.commits))
        head = b""
        if request.haves and not request.done:
            is_ready = history.is_ready(request)
            lines = [f"ACK {oid}\n".encode() for oid in history.common(request.haves)]
            head = pkt(
                b"acknowledgments\n", *(lines or [b"NAK\n"]), *([b"ready\n"] if is_ready else [])
            )
            if not is_ready:
                return iter([head + pkt(Mark.FLUSH)])
            head += pkt(Mark.DELIMITER)
        missing = history.missing(request)
        chosen = _choose(session, repo, request, history, missing, wants)
    if request.depth is not None:
        head += pkt(b"shallow-info\n", *_shallow_lines(missing), Mark.DELIMITER)
    pack = _Pack(hub, repo.id, known, request, chosen)
    return _send(pack, head + pkt(b"packfile\n"), in_bands=True)


def answer_old_fetch(hub: Hub, repo: Repo, request: FetchRequest) -> Iterator[bytes]:
    """The answer to one round of version 0, with detailed acknowledgments if they were asked for.

    A client that speaks HTTP repeats with each round what was found common before it: without the
    details it cannot, and is at a loss what to expect once it needs more than one round.
    """
    if not request.wants:
        return iter([])
    with hub.db.read() as session:
        known, history, wants = _open(session, hub, repo, request)
        request = replace(request, wants=list(wants.commits))
        head = b""
        missing = None
        if request.depth is not None:
            missing = history.missing(request)
            head = pkt(*_shallow_lines(missing), Mark.FLUSH)
        if request.only_depth:
            return iter([head])
        head += _acknowledgments(history, request)
        if not request.done:
            return iter([head])
        missing = missing or history.missing(request)
        chosen = _choose(session, repo, request, history, missing, wants)
    in_bands = b"side-band-64k" in request.capabilities
    return _send(_Pack(hub, repo.id, known, request, chosen), head, in_bands=in_bands)


def _acknowledgments(history: History, request: FetchRequest) -> bytes:
    commons = history.common(request.haves)
    if b"multi_ack_detailed" not in request.capabilities:
        return pkt(f"ACK {commons[0]}\n".encode() if commons else b"NAK\n")
    lines = [f"ACK {oid} common\n".encode() for oid in commons]
    if request.done:
        lines.append(f"ACK {commons[-1]}\n".encode() if commons else b"NAK\n")
        return pkt(*lines)
    if history.is_ready(request):
        lines.append(f"ACK {commons[-1]} ready\n".encode())
    return pkt(*lines, b"NAK\n")


def _open(
    session: Session, hub: Hub, repo: Repo, request: FetchRequest
) -> tuple[KnownRefs, History, Wants]:
    known = known_refs(session, repo.id, hub.settings.default_branch)
    ancestry = Ancestry(session, repo.id)
    wants = read_wants(session, repo.id, ancestry, known, request.wants)
    return known, History(ancestry, known), wants


def _choose(
    session: Session,
    repo: Repo,
    request: FetchRequest,
    history: History,
    missing: Missing,
    wants: Wants,
) -> Selection:
    return select_objects(
        session,
        repo.id,
        history,
        missing,
        trees=wants.trees,
        blobs=wants.blobs,
        within=request.within,
    )


def _shallow_lines(missing: Missing) -> list[bytes]:
    return [f"shallow {oid}\n".encode() for oid in missing.shallow] + [
        f"unshallow {oid}\n".encode() for oid in missing.unshallow
    ]


def _send(pack: _Pack, head: bytes, *, in_bands: bool) -> Iterator[bytes]:
    yield head
    if in_bands and b"no-progress" not in pack.request.capabilities:
        yield in_band(PROGRESS_BAND, f"Sending {len(pack.chosen)} objects\n".encode())
    try:
        for buffer in _buffered(_packed(len(pack.chosen), _objects(pack))):
            yield in_band(PACK_BAND, buffer) if in_bands else buffer
    except HubError as error:
        log.warning("a fetch broke off: %s", error.message)
        if not in_bands:
            raise
        yield in_band(ERROR_BAND, f"{error.message}\n".encode())
        return
    if in_bands:
        yield pkt(Mark.FLUSH)


def _objects(pack: _Pack) -> Iterator[GitObject]:
    hub, repo_id, chosen = pack.hub, pack.repo_id, pack.chosen
    yield from (GitObject("tag", oid, pack.known.tags[oid]) for oid in chosen.tags)
    yield from objects.commits(hub, repo_id, chosen.commits)
    yield from objects.trees(hub, repo_id, list(chosen.trees))
    yield from objects.blobs(hub, chosen.blobs.values())


def _packed(count: int, contents: Iterator[GitObject]) -> Iterator[bytes]:
    digest = hashlib.sha1(usedforsecurity=False)
    sent = 0
    for chunk in pack_header_chunks(count):
        digest.update(chunk)
        yield chunk
    for each in contents:
        sent += 1
        for chunk in pack_object_chunks(_NUMBERS[each.kind], [each.body], object_format=SHA1):
            digest.update(chunk)
            yield chunk
    if sent != count:
        raise HubError("the history was changed while it was sent; fetch again")
    yield digest.digest()


def _buffered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    nbytes = 0
    for chunk in chunks:
        held.append(chunk)
        nbytes += len(chunk)
        if nbytes >= SEND_NBYTES:
            yield b"".join(held)
            held, nbytes = [], 0
    if held:
        yield b"".join(held)
