"""Which files of a directory are known to be complete, so that they are not hashed every time."""

import hashlib
import json
import os
from pathlib import Path

from client.hub import RemoteFile


class CompleteFiles:
    """An append-only list of files with size and time as they were when verified."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[int | str]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    name, *facts = json.loads(line)
                except ValueError:  # cut off by a kill
                    continue
                self._known[name] = facts

    def holds(self, target: Path, file: RemoteFile) -> bool:
        """Whether ``target`` is this file; looks into it only if it is not on the list."""
        try:
            stat = target.stat()
        except OSError:
            return False
        if stat.st_size != file.nbytes:
            return False
        if self._known.get(str(target.absolute())) == _facts(stat, file):
            return True
        if not _is_file(target, file):
            return False
        self.add(target, file)
        return True

    def add(self, target: Path, file: RemoteFile) -> None:
        """Note a file that was verified just now."""
        name = str(target.absolute())
        self._known[name] = _facts(target.stat(), file)
        with self._path.open("a") as lines:
            lines.write(json.dumps([name, *self._known[name]]) + "\n")


def _facts(stat: os.stat_result, file: RemoteFile) -> list[int | str]:
    return [stat.st_size, stat.st_mtime_ns, file.oid if file.sha256 is None else file.sha256.hex()]


def _is_file(target: Path, file: RemoteFile) -> bool:
    with target.open("rb") as data:
        if file.sha256 is not None:
            return hashlib.file_digest(data, "sha256").digest() == file.sha256
        blob = hashlib.sha1(b"blob %d\0" % file.nbytes, usedforsecurity=False)
        while chunk := data.read(1 << 20):
            blob.update(chunk)
        return blob.hexdigest() == file.oid
