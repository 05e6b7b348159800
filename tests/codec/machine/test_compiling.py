"""Compiled code: kept, found again, never stale, and not missed where it cannot be kept."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

import codec
from codec.machine import compiling

pytestmark = pytest.mark.long

ROOT = Path(codec.__file__).parent

PROGRAM = """
import numpy as np
from codec.machine import compiling
{patch}
from codec.cdc import ChunkBoundaries
import codec
ChunkBoundaries().feed(bytes(1 << 18))
from codec.plane import split_kernels
words = np.arange(300, dtype=np.uint16)
frame = codec.encode(words, dtype="U16", codec="PLANE")
assert codec.decode(frame) == words.view(np.uint8).data
hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in split_kernels.SPLIT.values())
print(compiling.cache_place(), hits)
"""


def in_new_process(package: Path, patch: str = "", **environment: str) -> list[str]:
    """Place of the cache and cache hits, as a process that imports a package sees them."""
    result = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM.format(patch=patch)],
        env={**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A copy of the package whose only kernels are the few that the program needs."""
    copy = tmp_path / "lib" / "codec"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_every_kernel_is_compiled_for_its_signatures_at_import():
    loaded = codec.load()
    assert loaded.kernels > 30
    assert codec.load().kernels == loaded.kernels


@pytest.mark.parametrize("module", compiling.kernel_modules())
def test_kernels_use_the_cache_of_the_package(module):
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    assert not re.search(r"from numba import .*\bn?jit\b", source)


def test_load_tells_what_there_is_and_marks_the_directory():
    loaded = codec.load()
    assert loaded.directory is not None
    assert (Path(loaded.directory) / compiling.warm_marker()).exists()
    assert loaded.instructions in ("avx512", "avx2", "portable")


def test_second_process_compiles_nothing(small: Path, tmp_path: Path):
    place = str(tmp_path / "cache")
    first = in_new_process(small, NUMBA_CACHE_DIR=place)
    second = in_new_process(small, NUMBA_CACHE_DIR=place)
    assert first[0] == second[0]
    assert first[0].startswith(place)
    assert (first[1], second[1]) == ("0", "3")


def test_kernels_work_where_nothing_can_be_kept(small: Path, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.touch()
    (small / "__pycache__").touch()
    environment = {"NUMBA_CACHE_DIR": str(blocked), "XDG_CACHE_HOME": str(blocked)}
    assert in_new_process(small, **environment) == ["None", "0"]


def test_directory_that_was_warmed_serves_when_it_is_read_only(small: Path, tmp_path: Path):
    place = str(tmp_path / "cache")
    read_only = "compiling._is_writable = lambda place: False"
    [kept, _] = in_new_process(small, NUMBA_CACHE_DIR=place)
    assert in_new_process(small, read_only, NUMBA_CACHE_DIR=place) == ["None", "0"]
    mark = "(compiling.cache_place() / compiling.warm_marker()).touch()"
    in_new_process(small, mark, NUMBA_CACHE_DIR=place)
    assert in_new_process(small, read_only, NUMBA_CACHE_DIR=place) == [kept, "3"]


def test_code_is_stale_once_a_module_it_is_built_from_has_changed():
    built = {name: compiling.built_from(name) for name in compiling.kernel_modules()}
    wide = {"machine.vectors32", "machine.vectors16", "machine.instructions", "context.vectors"}
    assert wide | {"context.portable", "context.kernels"} < built["context.wide16"]
    assert {"plane.kernels", "machine.vectors32"} < built["plane.wide"]
    assert built["context.kernels"] == {"context.kernels"}
    stamps = {compiling.source_stamp(name) for name in built}
    assert len(stamps) == len(built)


def test_functions_of_one_name_in_modules_of_one_name_are_kept_apart():
    codec.load()
    kernels = [
        value
        for name in compiling.kernel_modules()
        if (module := sys.modules.get(f"codec.{name}"))
        for value in vars(module).values()
        if isinstance(value, Dispatcher) and value.stats.cache_path
    ]
    bases = {kernel._cache._impl.filename_base for kernel in set(kernels)}
    assert len(bases) == len(set(kernels)) > 30
