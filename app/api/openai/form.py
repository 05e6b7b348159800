"""A multipart form with one file, read as it comes: no part of the file is held or put on a disk.

RFC 7578. Fields may stand before the file or behind it.
"""

from collections import deque
from collections.abc import Iterator

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import InvalidRequest, LimitExceeded

FILE = "file"
MAX_FIELDS = 16
MAX_FIELD_NBYTES = 64 << 10


class FileForm:
    """Fields by name, and the file as a stream. What is read is bounded by the limits given."""

    def __init__(
        self, content_type: str, buffers: Iterator[bytes], *, max_nbytes: int, setting: str
    ) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest("send the file as multipart/form-data, in a field named file")
        self.fields: dict[str, str] = {}
        self.filename = ""
        """Known once the first part of the file was read."""
        self._buffers = buffers
        self._max_nbytes = max_nbytes
        self._setting = setting
        self._pieces: deque[bytes] = deque()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._part = ""
        self._value = bytearray()
        self._files = 0
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._name(data[start:end]),
                "on_header_value": lambda data, start, end: self._worth(data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": lambda data, start, end: self._data(data[start:end]),
                "on_part_end": self._end,
                "on_end": self._whole,
            },
        )

    def begin(self) -> None:
        """Read up to the file's first bytes. Raises InvalidRequest."""
        while not self._files and self._advance():
            pass
        if not self._files:
            raise InvalidRequest("file: the form has no field of this name that is a file")

    def file(self) -> Iterator[bytes]:
        """The file's bytes; what stands behind it is read too, so all fields are known after.

        Raises InvalidRequest, LimitExceeded.
        """
        nbytes = 0
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                nbytes += len(piece)
                if nbytes > self._max_nbytes:
                    raise LimitExceeded(
                        f"file: longer than {self._max_nbytes} bytes", setting=self._setting
                    )
                yield piece
            if not self._advance():
                return

    def _advance(self) -> bool:
        data = next(self._buffers, None)
        if data is None:
            if not self._is_whole:
                raise InvalidRequest("the form ends before its last boundary")
            return False
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise InvalidRequest(f"not a multipart form: {error}") from None
        return True

    def _begin(self) -> None:
        self._headers = {}
        self._value = bytearray()

    def _name(self, data: bytes) -> None:
        self._header[0].extend(data)

    def _worth(self, data: bytes) -> None:
        self._header[1].extend(data)

    def _header_ends(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        try:
            self._part = options.get(b"name", b"").decode()
            filename = options.get(b"filename", b"").decode()
        except UnicodeDecodeError:
            raise InvalidRequest("a name in the form is not UTF-8") from None
        if self._part == FILE:
            self._files += 1
            self.filename = filename
            if self._files > 1 or b"filename" not in options:
                raise InvalidRequest("file: exactly one file is sent, with its name")
        elif len(self.fields) >= MAX_FIELDS:
            raise InvalidRequest(f"a form has at most {MAX_FIELDS} fields")

    def _data(self, data: bytes) -> None:
        if self._part == FILE:
            self._pieces.append(data)
            return
        self._value += data
        if len(self._value) > MAX_FIELD_NBYTES:
            raise InvalidRequest(f"{self._part}: longer than {MAX_FIELD_NBYTES} bytes")

    def _end(self) -> None:
        if self._part == FILE:
            return
        try:
            self.fields[self._part] = self._value.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("a field of the form is not UTF-8") from None

    def _whole(self) -> None:
        self._is_whole = True
