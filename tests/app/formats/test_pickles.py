"""Pickles are read, never run, and only what is known to be harmless is called safe."""

import bz2
import gzip
import io
import lzma
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path

import lz4.frame
import numpy as np
import pytest

from app.formats.pickles import Scan, may_be_pickle, scan


def torch_zip(data: bytes, name: str = "archive/data.pkl", **kwargs) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **kwargs) as archive:
        archive.writestr(name, data)
        archive.writestr("archive/data/0", b"\0" * 64)
    return out.getvalue()


def globals_pickle(*names: str) -> bytes:
    """Imports these names and does nothing with them."""
    return b"".join(b"c" + name.replace(" ", "\n").encode() + b"\n0" for name in names) + b"N."


STATE = globals_pickle("collections OrderedDict", "torch._utils _rebuild_tensor_v2",
                       "torch FloatStorage")  # fmt: skip


@pytest.mark.parametrize("data", [STATE, torch_zip(STATE)], ids=["bare", "zip"])
def test_a_checkpoint_is_safe(data: bytes):
    found = scan([data], "pytorch_model.bin")
    assert found.status == "safe"
    assert found.imports is not None
    assert {each.safety for each in found.imports} == {"innocuous"}
    assert ("torch", "FloatStorage") in {(each.module, each.name) for each in found.imports}


HOSTILE = {
    "os.system": globals_pickle("os system"),
    "posix.system": globals_pickle("posix system"),
    "eval": globals_pickle("builtins eval"),
    "stack global": b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x94.",
    "in a zip": torch_zip(globals_pickle("os system")),
    "under another name": torch_zip(globals_pickle("os system"), "archive/weights.bin"),
    "behind a good one": STATE + globals_pickle("os system"),
    "unknown module": globals_pickle("my_models Thing"),
    "pip": globals_pickle("pip main"),
    "asyncio": globals_pickle("asyncio.unix_events _UnixSubprocessTransport._start"),
    "torch.load": globals_pickle("torch load"),
    "torch inductor": globals_pickle("torch._inductor.codecache compile_file"),
    "cut off": STATE[:-1] + b"c",
    "not a pickle": b"\x80\x04" + b"\xff" * 40,
    "broken zip": torch_zip(globals_pickle("os system"))[:-30],
    "behind text that is not ASCII": b"S'\\xc3\\xa9'\n0" + globals_pickle("os system"),
    "behind a number, cut off": b"K\x01" + globals_pickle("os system")[:-1] + b"\xff",
    "behind a memo that takes more than a scan may": (
        b"S'\xc3\xa9'\n0K\x01r" + struct.pack("<I", 1 << 28) + b"0" + globals_pickle("os system")
    ),
    "behind a buffer out of band": b"S'\xc3\xa9'\n0\x970" + globals_pickle("os system"),
    "gzip": gzip.compress(globals_pickle("os system")),
    "gzip, in two members": gzip.compress(b"K\x01") + gzip.compress(globals_pickle("os system")),
    "zlib": zlib.compress(globals_pickle("os system")),
    "zlib, one behind the other": b"".join(map(zlib.compress, (b"K\x01", STATE, b"cpip\nmain\n."))),
    "zlib, cut off": zlib.compress(globals_pickle("os system"))[:-4],
    "bz2": bz2.compress(globals_pickle("os system")),
    "xz": lzma.compress(globals_pickle("os system")),
    "lzma": lzma.compress(globals_pickle("os system"), format=lzma.FORMAT_ALONE),
    "lz4": lz4.frame.compress(globals_pickle("os system")),
    "more than is looked at": gzip.compress(bytes(257 << 20), compresslevel=1),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_else_is(data: bytes, tmp_path: Path):
    assert scan([data], "model.bin").status in {"suspicious", "unsafe", "error"}


PLAIN = {
    "raw floats": np.random.default_rng(1).normal(size=4000).astype("<f4").tobytes(),
    "zeros": bytes(4000),
    "text": b"Some text.\nMore of it.\n",
    "JSON": b'{"a": 1}',
    "begins like zlib": b"x" + bytes(range(255)),
    "begins like lzma": b"\x5d\0" + b"\xff" * 300,
    "compressed text": gzip.compress(b"Some text.\n" * 50),
    "a number, and no more": b"K\x01",
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN.keys())
def test_what_is_no_pickle_is_called_none(data: bytes):
    assert scan([data], "blob.bin") == Scan("safe", None)


def test_arrays_are_no_pickles_unless_they_hold_objects():
    out = io.BytesIO()
    np.save(out, np.arange(100))
    assert scan([out.getvalue()], "a.npy") == Scan("safe", None)
    out = io.BytesIO()
    np.save(out, np.array([1, "x"], dtype=object), allow_pickle=True)
    assert scan([out.getvalue()], "a.npy").imports


def test_a_compressed_checkpoint_is_safe():
    found = scan([zlib.compress(STATE)], "model.joblib")
    assert found.status == "safe"
    assert found.imports


def test_what_is_scanned_is_not_run(tmp_path: Path):
    mark = tmp_path / "ran"
    path = str(mark).encode()
    opens = b"\x80\x02cbuiltins\nopen\n" + b"X" + struct.pack("<I", len(path)) + path
    data = opens + b"X\x01\0\0\0w\x86R."
    assert scan([data], "x.pkl").status in {"suspicious", "unsafe"}
    assert not mark.exists()


def test_a_length_that_is_a_lie_is_no_harm():
    huge = b"\x80\x04" + b"\x8d" + struct.pack("<Q", 1 << 60) + b"x"
    assert scan([huge], "x.pkl").status == "error"


def test_names_that_frameworks_unpickle():
    assert may_be_pickle("pytorch_model.bin")
    assert may_be_pickle("a/b.PKL")
    assert not may_be_pickle("model.safetensors")
    assert pickletools.genops(STATE)
