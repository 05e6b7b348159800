"""The upstream's git history: its refs, and the objects that are not here, as one pack.

Source: git's gitprotocol-v2(5). What comes is read by the code that reads pushes, with its bounds.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.catalog.refs import BRANCH, TAG
from app.errors import InvalidRequest, UpstreamDown, UpstreamLied
from app.git.pkt import PACK_BAND, PROGRESS_BAND, Mark, PktReader, pkt
from app.git.unpacking import FindBases, UnpackedObjects
from app.mirror.upstream import RepoAddress, Upstream, check_status

MAX_REFS = 100_000
MAX_HAVES = 256
HEADERS = {
    "git-protocol": "version=2",
    "content-type": "application/x-git-upload-pack-request",
    "accept": "application/x-git-upload-pack-result",
}
CONVERTED = "refs/convert/"
"""Where the Hub keeps what it made out of datasets."""

_REF = re.compile(rb"([0-9a-f]{40}) ([^ ]+)((?: [^ ]+)*)")


@dataclass(frozen=True, slots=True)
class RemoteRef:
    """A ref of the upstream."""

    name: str
    oid: str
    """Of the tag object, for an annotated tag."""


def list_remote_refs(
    upstream: Upstream, address: RepoAddress, *, extra: Sequence[str] = ()
) -> list[RemoteRef]:
    """Branches, tags and conversions of a repo, and ``extra`` refs by their full names.

    Raises RepoNotFound, GatedRepo, UpstreamDown, -Slow, -Lied.
    """
    prefixes = [BRANCH, TAG, CONVERTED, *extra]
    question = pkt(
        b"command=ls-refs\n",
        Mark.DELIMITER,
        *(f"ref-prefix {prefix}\n".encode() for prefix in prefixes),
        Mark.FLUSH,
    )
    refs: list[RemoteRef] = []
    with _asked(upstream, address, question) as reader:
        for line in reader.until_flush():
            match = _REF.fullmatch(line)
            if match is None or len(refs) == MAX_REFS:
                raise InvalidRequest("its list of refs is none, or does not end")
            name = match[2].decode("utf-8", "replace")
            if name.startswith((BRANCH, TAG, CONVERTED)) or name in extra:
                refs.append(RemoteRef(name, match[1].decode()))
    return refs


def fetch_objects(
    upstream: Upstream,
    address: RepoAddress,
    into: UnpackedObjects,
    find_bases: FindBases,
    *,
    wants: Sequence[str],
    haves: Sequence[str],
) -> None:
    """Take in what ``wants`` reach and ``haves`` do not. Raises as :func:`list_remote_refs`."""
    question = pkt(
        b"command=fetch\n",
        Mark.DELIMITER,
        b"ofs-delta\n",
        b"no-progress\n",
        *([b"thin-pack\n"] if haves else []),
        *(f"want {oid}\n".encode() for oid in wants),
        *(f"have {oid}\n".encode() for oid in haves[:MAX_HAVES]),
        b"done\n",
        Mark.FLUSH,
    )
    with _asked(upstream, address, question) as reader:
        if reader.packet() != b"packfile":
            raise InvalidRequest("no pack comes where one was due")
        into.read_pack(PktReader(_pack_bytes(reader)), find_bases)


@contextmanager
def _asked(upstream: Upstream, address: RepoAddress, question: bytes) -> Iterator[PktReader]:
    """The reader of the answer that the upstream's git gives to a question."""
    door = upstream.door
    path = f"{address.page}.git/git-upload-pack"
    with door.open(
        "POST", path, headers=upstream.headers | HEADERS, content=question, login="basic"
    ) as response:
        what = f"about the history of {address.full_name}"
        check_status(response.status_code, response.headers, what)
        try:
            yield PktReader(door.body(response, within_s=door.answer_s))
        except InvalidRequest as error:
            # Our reader takes the upstream for a client.
            raise UpstreamLied(f"the upstream's git: {error.message}") from error


def _pack_bytes(reader: PktReader) -> Iterator[bytes]:
    while (payload := reader.payload()) is not None and payload is not Mark.FLUSH:
        if not isinstance(payload, bytes) or not payload:
            raise InvalidRequest("a mark comes where the pack was due")
        band = payload[0]
        if band == PACK_BAND:
            yield payload[1:]
        elif band != PROGRESS_BAND:
            said = payload[1:200].decode("utf-8", "replace").strip()
            raise UpstreamDown(f"the upstream's git breaks off: {said}")
