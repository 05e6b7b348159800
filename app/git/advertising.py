"""The first answer to a git client: what this server can do and which refs there are.

Source: git's gitprotocol-http(5), gitprotocol-pack(5), gitprotocol-v2(5).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, cast

from app import __version__
from app.errors import InvalidRequest
from app.git.names import NO_OID, KnownRefs, NamedOid
from app.git.pkt import Mark, pkt

Service = Literal["git-upload-pack", "git-receive-pack"]

AGENT = f"agent=clade/{__version__}"
_FETCH = (
    "multi_ack_detailed",
    "side-band-64k",
    "thin-pack",
    "ofs-delta",
    "shallow",
    "deepen-relative",
    "no-progress",
    "filter",
    "allow-tip-sha1-in-want",
    "allow-reachable-sha1-in-want",
)
_PUSH = ("report-status", "side-band-64k", "delete-refs", "ofs-delta", "atomic", "quiet")


def advertise(service: Service, known: KnownRefs, *, version: int) -> bytes:
    """The body of ``info/refs``. Pushes know no version 2: they are answered as of old."""
    if service == "git-upload-pack" and version == 2:
        return _service(service) + _capabilities()
    head = known.head
    refs = [*known.refs]
    capabilities: list[str] = list(_PUSH if service == "git-receive-pack" else _FETCH)
    if service == "git-upload-pack" and head is not None:
        refs.insert(0, NamedOid("HEAD", head.oid, head.commit_oid))
        capabilities.append(f"symref=HEAD:{head.name}")
    if service == "git-receive-pack":
        # What is not theirs to move they need not see.
        refs = [ref for ref in refs if ref.name.startswith(("refs/heads/", "refs/tags/"))]
    capabilities += ["object-format=sha1", AGENT]
    lines = list(_lines(refs, peel=service == "git-upload-pack")) or [f"{NO_OID} capabilities^{{}}"]
    lines[0] += "\0" + " ".join(capabilities)
    version_line = [b"version 1\n"] if version == 1 else []
    return _service(service) + pkt(
        *version_line, *(f"{line}\n".encode() for line in lines), Mark.FLUSH
    )


def list_refs(known: KnownRefs, arguments: Sequence[bytes]) -> bytes:
    """The answer to ``ls-refs`` of version 2."""
    peel, symrefs, unborn = (word in arguments for word in (b"peel", b"symrefs", b"unborn"))
    prefixes = tuple(
        argument.removeprefix(b"ref-prefix ").decode("utf-8", "replace")
        for argument in arguments
        if argument.startswith(b"ref-prefix ")
    )
    lines: list[str] = []
    if not prefixes or "HEAD".startswith(prefixes):
        link = f" symref-target:{known.default}" if symrefs else ""
        if known.head is not None:
            lines.append(f"{known.head.oid} HEAD{link}")
        elif unborn:
            lines.append(f"unborn HEAD{link}")
    for ref in known.refs:
        if not prefixes or ref.name.startswith(prefixes):
            tail = f" peeled:{ref.peeled}" if peel and ref.peeled else ""
            lines.append(f"{ref.oid} {ref.name}{tail}")
    return pkt(*(f"{line}\n".encode() for line in lines), Mark.FLUSH)


def wanted_service(name: str | None) -> Service:
    """The service that a client asks for. Raises InvalidRequest."""
    if name in {"git-upload-pack", "git-receive-pack"}:
        return cast("Service", name)
    raise InvalidRequest("this hub speaks git's smart protocol only: update your git")


def asked_version(header: str) -> int:
    """The protocol version in a ``Git-Protocol`` header; 0 without one we know."""
    asked = [part.removeprefix("version=") for part in header.split(":")]
    return max((int(part) for part in asked if part in {"1", "2"}), default=0)


def _service(service: Service) -> bytes:
    return pkt(f"# service={service}\n".encode(), Mark.FLUSH)


def _capabilities() -> bytes:
    lines = ["version 2", AGENT, "ls-refs=unborn", "fetch=shallow filter", "object-format=sha1"]
    return pkt(*(f"{line}\n".encode() for line in lines), Mark.FLUSH)


def _lines(refs: Iterable[NamedOid], *, peel: bool) -> Iterator[str]:
    for ref in refs:
        yield f"{ref.oid} {ref.name}"
        if peel and ref.peeled:
            yield f"{ref.peeled} {ref.name}^{{}}"
