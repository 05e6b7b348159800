"""Pickles are read, never run, and only what is known to be harmless is called safe."""

import io
import pickletools
import struct
import zipfile
from pathlib import Path

import pytest

from app.formats.pickles import may_be_pickle, scan


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
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_else_is(data: bytes, tmp_path: Path):
    assert scan([data], "model.bin").status in {"suspicious", "unsafe", "error"}


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
