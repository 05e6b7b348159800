"""The ndjson body of a commit, read line by line in bounded memory.

Each line is ``{"key": …, "value": {…}}``: one header, then one operation per line. Files carried in
the body are handed out in batches to be stored, so a body of many files is never held whole.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.json_body import parse_json, validated
from app.catalog.operations import AddFile, AddLfsFile, DeleteFile, DeleteFolder, Operation
from app.catalog.paths import check_path
from app.errors import InvalidRequest, LimitExceeded
from app.settings import Limits

BATCH_NBYTES = 32 << 20
"""Files carried inline are stored whenever this much of them has come in."""


class Header(BaseModel):
    """Message of the commit and the head it was made for."""

    summary: str
    description: str = ""
    parentCommit: str | None = None  # noqa: N815  the clients' name


class _Line(BaseModel):
    key: Literal["header", "file", "lfsFile", "deletedFile", "deletedFolder"]
    value: dict[str, Any]


class _Inline(BaseModel):
    path: str
    content: str
    encoding: Literal["base64", "utf-8"] = "base64"


class _Lfs(BaseModel):
    path: str
    oid: str = Field(pattern=r"^[0-9a-f]{64}$")
    algo: Literal["sha256"] = "sha256"
    size: int | None = Field(None, ge=0)


class _Path(BaseModel):
    path: str


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A file that came in the body and is not stored yet."""

    position: int
    """Index of its operation."""
    path: str
    data: bytes


class CommitBody:
    """Parser of one body: feed chunks, store what :meth:`take_inline` hands out, then finish."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._line = bytearray()
        self._nbytes = 0
        self._digest = hashlib.sha256()
        self._header: Header | None = None
        self._operations: list[Operation | None] = []
        self._inline: list[InlineFile] = []
        self._inline_nbytes = 0

    @property
    def batch_is_full(self) -> bool:
        """Whether enough inline files came in to store them now."""
        return self._inline_nbytes >= BATCH_NBYTES

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body so far."""
        return self._digest.digest()

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes. Raises InvalidRequest or LimitExceeded, naming line or path."""
        self._nbytes += len(chunk)
        if self._nbytes > self._limits.commit_nbytes:
            raise LimitExceeded("commit body too long", setting="limits.commit_nbytes")
        self._digest.update(chunk)
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._append(line)
            self._parse_line()
        self._append(rest)

    def end(self) -> None:
        """The body is complete: read a last line that has no newline."""
        self._parse_line()

    def take_inline(self) -> list[InlineFile]:
        """Inline files since the last call; :meth:`stored` must be told where they went."""
        taken, self._inline, self._inline_nbytes = self._inline, [], 0
        return taken

    def stored(self, file: InlineFile, file_id: int, oid: str) -> None:
        """An inline file is stored as ``file_id``; ``oid`` is its git blob id."""
        self._operations[file.position] = AddFile(file.path, file_id, oid)

    def finish(self) -> tuple[Header, list[Operation]]:
        """The header and all operations, once every inline file is stored."""
        if self._header is None:
            raise InvalidRequest("the commit has no header line")
        operations = [operation for operation in self._operations if operation is not None]
        assert len(operations) == len(self._operations)
        return self._header, operations

    def _append(self, piece: bytes) -> None:
        if len(self._line) + len(piece) > self._limits.commit_line_nbytes:
            raise LimitExceeded("a line is too long", setting="limits.commit_line_nbytes")
        self._line += piece

    def _parse_line(self) -> None:
        line, self._line = bytes(self._line).strip(), bytearray()
        if not line:
            return
        parsed = validated(_Line, parse_json(line, self._limits))
        if parsed.key == "header":
            if self._header is not None:
                raise InvalidRequest("the commit has two header lines")
            self._header = validated(Header, parsed.value)
            return
        if len(self._operations) >= self._limits.commit_operations:
            raise LimitExceeded("too many operations", setting="limits.commit_operations")
        self._operations.append(self._operation(parsed))

    def _operation(self, line: _Line) -> Operation | None:
        match line.key:
            case "file":
                self._add_inline(validated(_Inline, line.value))
                return None
            case "lfsFile":
                lfs = validated(_Lfs, line.value)
                check_path(lfs.path, self._limits)
                return AddLfsFile(lfs.path, bytes.fromhex(lfs.oid), lfs.size)
            case "deletedFile":
                return DeleteFile(validated(_Path, line.value).path)
            case _:
                return DeleteFolder(validated(_Path, line.value).path)

    def _add_inline(self, file: _Inline) -> None:
        check_path(file.path, self._limits)
        data = _decode(file)
        if len(data) > self._limits.inline_file_nbytes:
            raise LimitExceeded(
                f"{file.path}: too big to be sent inside a commit",
                setting="limits.inline_file_nbytes",
            )
        self._inline.append(InlineFile(len(self._operations), file.path, data))
        self._inline_nbytes += len(data)


def _decode(file: _Inline) -> bytes:
    try:
        if file.encoding == "base64":
            return base64.b64decode(file.content, validate=True)
        return file.content.encode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{file.path}: content is not {file.encoding}: {error}") from None
