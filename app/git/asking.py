"""What a client asks for when it fetches, in the words of version 0 or 2 of the protocol."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.errors import InvalidRequest
from app.git.filters import EVERYTHING, ObjectFilter, parse_filter
from app.git.pkt import Mark, Packet, PktReader

_OID = re.compile(rb"[0-9a-f]{40}")
_DEPTH = re.compile(rb"[0-9]{1,10}")
_UNSERVED = (b"deepen-since", b"deepen-not", b"want-ref", b"packfile-uris")


@dataclass(slots=True)
class FetchRequest:
    """One round of a fetch."""

    wants: list[str] = field(default_factory=list)
    haves: list[str] = field(default_factory=list)
    shallow: set[str] = field(default_factory=set)
    """Commits whose parents the client does not have."""
    depth: int | None = None
    """Commits to send of each line of history; None: all."""
    relative: bool = False
    """Whether the depth counts from where the client's history ends."""
    only_depth: bool = False
    """Whether version 0 asks for the new depth alone, before it tells what it has."""
    within: ObjectFilter = EVERYTHING
    """What a partial clone asks to be sent of what it wants."""
    done: bool = False
    """Whether the client has said all it has: send the pack."""
    capabilities: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Command:
    """One command of version 2."""

    name: bytes
    arguments: tuple[bytes, ...]


def read_command(reader: PktReader) -> Command | None:
    """The command of a request; None for an empty one. Raises InvalidRequest."""
    first = reader.packet()
    if first is None or first is Mark.FLUSH:
        return None
    if not isinstance(first, bytes) or not first.startswith(b"command="):
        raise InvalidRequest("a command of git was due")
    arguments: list[bytes] = []
    in_arguments = False
    for packet in reader.packets():
        if packet is Mark.FLUSH:
            break
        if packet is Mark.DELIMITER:
            in_arguments = True
        elif isinstance(packet, bytes) and in_arguments:
            arguments.append(packet)
    return Command(first.removeprefix(b"command="), tuple(arguments))


def read_fetch_arguments(arguments: Iterable[bytes]) -> FetchRequest:
    """A fetch of version 2. Raises InvalidRequest for what was not offered."""
    request = FetchRequest()
    words: set[bytes] = set()
    for argument in arguments:
        if not _take(request, argument):
            words.add(argument)
    request.relative = b"deepen-relative" in words
    request.capabilities = frozenset(words)
    return request


def read_old_fetch(reader: PktReader) -> FetchRequest:
    """A fetch of version 0: wants with capabilities, a flush, then haves. Raises InvalidRequest."""
    request = FetchRequest()
    for number, line in enumerate(reader.until_flush()):
        want = line
        if number == 0:
            want, words = line[:45], line[45:].split()
            request.capabilities = frozenset(words)
        if not _take(request, want):
            raise InvalidRequest("git asked for something that is not understood")
    request.only_depth = True
    for packet in reader.packets():
        request.only_depth = False
        if isinstance(packet, bytes) and not _take(request, packet):
            raise InvalidRequest("git said something that is not understood")
    request.relative = b"deepen-relative" in request.capabilities
    return request


def _take(request: FetchRequest, line: Packet) -> bool:
    """Note one line; False if it is a word of another kind."""
    assert isinstance(line, bytes)
    word, _, value = line.partition(b" ")
    match word:
        case b"want":
            request.wants.append(_oid(value))
        case b"have":
            request.haves.append(_oid(value))
        case b"shallow":
            request.shallow.add(_oid(value))
        case b"deepen":
            if not _DEPTH.fullmatch(value) or not 0 < int(value) < 1 << 31:
                raise InvalidRequest("a depth is a positive number")
            request.depth = int(value)
        case b"filter":
            request.within = parse_filter(value.decode("utf-8", "replace"))
        case b"done":
            request.done = True
        case _ if word in _UNSERVED:
            raise InvalidRequest(f"{word.decode()} is not offered by this server")
        case _:
            return False
    return True


def _oid(value: bytes) -> str:
    if not _OID.fullmatch(value):
        raise InvalidRequest("git sent something that is no object id")
    return value.decode()
