"""What a pickle would import if anybody loaded it: read, never run, in a child that may be killed.

picklescan lists the imports; the verdict is by allow-list. Safe is only what imports nothing but
what it knows to be harmless: lists of what is dangerous have been got round again and again (CVE
2025-1716, 2025-10155 to 10157; arXiv 2508.19774). A pickle that cannot be read to its end is not
safe; bytes that would fail to load before they import anything are no pickle.
"""

import io
import json
import pickletools
import resource
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import IO, Any, Literal

from app.formats.opcodes import asks_for_imports
from app.formats.unpacking import UNPACKED_NBYTES, unpacked

Status = Literal["safe", "suspicious", "unsafe", "error", "unscanned"]

SUFFIXES = frozenset(
    {".bin", ".ckpt", ".dat", ".data", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl"}
    | {".pt", ".pth", ".th"}
)

MEMORY_NBYTES = 2 << 30
CPU_S = 60
WALL_S = 300
SHOWN_IMPORTS = 100
MOST_MEMBERS = 100_000
MEMBER_NBYTES = 64 << 20
"""Looked at of an archive: members, and of each."""

MAX_NAME_LENGTH = 200

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Import:
    """A name that the pickle asks for, and what is thought of it."""

    module: str
    name: str
    safety: str
    """innocuous | suspicious | dangerous"""


@dataclass(frozen=True, slots=True)
class Scan:
    """The verdict on a file."""

    status: Status
    imports: tuple[Import, ...] | None = ()
    """None: it is no pickle."""


UNSCANNED = Scan("unscanned")


def may_be_pickle(path: str) -> bool:
    """Whether a file of this name is one that frameworks unpickle."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def scan(buffers: Iterable[bytes | memoryview], name: str) -> Scan:
    """The verdict on a file of these bytes; they lie in a temporary file meanwhile."""
    with NamedTemporaryFile() as file:
        for buffer in buffers:
            file.write(buffer)
        file.flush()
        return _in_child(file.name, PurePosixPath(name).suffix.lower())


def _in_child(path: str, suffix: str) -> Scan:
    command = [sys.executable, "-m", __name__, path, suffix]
    environment = {"PYTHONPATH": str(_ROOT)}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=WALL_S, env=environment, check=False
        )
        told = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError, ValueError):
        told = None
    if told is None:
        return Scan("error")
    return Scan(told["status"], read_imports(told["imports"]))


def read_imports(listed: Iterable[Sequence[str]] | None) -> tuple[Import, ...] | None:
    """Imports from lists of module, name and safety, as JSON has them."""
    return None if listed is None else tuple(Import(*each) for each in listed)


def _main(path: str, suffix: str) -> None:
    """In the child: scan within bounds and print the verdict."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_NBYTES, MEMORY_NBYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(path).open("rb") as file:
        print(json.dumps(_verdict(file, suffix)))  # noqa: T201  the answer to the parent


def _verdict(file: IO[bytes], suffix: str) -> dict[str, object]:
    found = _read(file, suffix)
    inner = unpacked(file)
    if inner is not None:
        found = found.joined(_read(inner, ".pkl"), inner.seek(0, io.SEEK_END) < UNPACKED_NBYTES)
    if not found.is_pickle:
        return {"status": "safe", "imports": None}
    imports = sorted({(each.module, each.name, each.safety.value) for each in found.names})
    levels = {safety for _, _, safety in imports}
    status: Status = "safe"
    if "dangerous" in levels:
        status = "unsafe"
    elif not found.is_whole:
        status = "error"
    elif levels - {"innocuous"}:
        status = "suspicious"
    # The worst first, so that what is left out is what matters least.
    order = {"dangerous": 0, "suspicious": 1}
    imports.sort(key=lambda each: order.get(each[2], 2))
    shown = [[part[:MAX_NAME_LENGTH] for part in each] for each in imports[:SHOWN_IMPORTS]]
    return {"status": status, "imports": shown}


@dataclass(frozen=True, slots=True)
class _Found:
    """What a file would import, whether it was read to its end, and whether it is a pickle."""

    names: list[Any]
    is_whole: bool
    is_pickle: bool = True

    def joined(self, inner: "_Found", is_all: bool) -> "_Found":
        """With what was found in what the file is the compression of; ``is_all`` of it."""
        is_whole = self.is_whole and inner.is_whole and is_all
        is_pickle = self.is_pickle or inner.is_pickle or not is_all
        return _Found(self.names + inner.names, is_whole, is_pickle)


def _read(file: IO[bytes], suffix: str) -> _Found:
    from picklescan.scanner import scan_bytes

    file.seek(0)
    found = scan_bytes(file, "file" + suffix, suffix)
    more, is_whole = _looked_through(file)
    names = [*found.globals, *more]
    is_whole = is_whole and not found.scan_err
    if not names and is_whole and not zipfile.is_zipfile(file) and not _ends(file):
        asks = asks_for_imports(file)
        return _Found([], not asks, asks)
    return _Found(names, is_whole)


def _looked_through(file: IO[bytes]) -> tuple[list[Any], bool]:
    """Imports that picklescan passes over, and whether all that claims to be a pickle is whole.

    It looks into members of archives by their names only, and is content with a pickle's beginning.
    """
    if not zipfile.is_zipfile(file):
        return [], _is_whole(file)
    names: list[Any] = []
    is_whole = True
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist()[:MOST_MEMBERS]:
                with archive.open(member) as opened:
                    head = opened.read(MEMBER_NBYTES)
                found = _imports_of(head)
                names += found
                is_whole &= len(head) == MEMBER_NBYTES or not head or _is_whole(io.BytesIO(head))
            is_whole &= len(archive.infolist()) <= MOST_MEMBERS
    except (zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError, zlib.error):
        return names, False
    return names, is_whole


def _imports_of(data: bytes) -> list[Any]:
    """Imports of a member that is a pickle to its end, whatever it is called."""
    from picklescan.scanner import scan_pickle_bytes

    if not _ends(io.BytesIO(data)):
        return []
    return list(scan_pickle_bytes(io.BytesIO(data), "member", multiple_pickles=False).globals)


def _is_whole(file: IO[bytes]) -> bool:
    """Whether a file does not claim to be a pickle, or is one to its end."""
    file.seek(0)
    first = file.read(1)
    return first not in {b"\x80", b"c", b"("} or _ends(file)


def _ends(file: IO[bytes]) -> bool:
    file.seek(0)
    try:
        for _ in pickletools.genops(file):
            pass
    except (ValueError, IndexError, OverflowError, MemoryError):
        return False
    return True


if __name__ == "__main__":
    _main(*sys.argv[1:3])
