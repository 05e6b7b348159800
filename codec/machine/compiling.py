"""Compiled code on disk: where it is kept, when it is stale, and doing without any place for it.

Numba looks for one writable directory per function and refuses to define it if there is none, and
holds cached code to be fresh while the one file that defines it has not changed. Here a read-only
directory that was warmed (``codec.machine.warm``) serves too, code is stale once any module it is
built from has changed, and without any place kernels are compiled anew in every process.
"""

import hashlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numba
from llvmlite import binding
from numba.core import config as numba_config
from numba.core.caching import (
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)

PACKAGE: Final = Path(__file__).parent.parent
config: Any = numba_config
"""Numba's settings, which it makes up at run time from the environment."""
_IMPORTED: Final = re.compile(
    rf"^\s*from {PACKAGE.name}((?:\.\w+)*) import (\([^)]*\)|.+)", re.MULTILINE
)
_COMPILED: Final = re.compile(rf"^(?:from|import) (?:numba|{re.escape(__name__)})\b", re.MULTILINE)
_NEVER_PART: Final = frozenset({"machine.compiling", "machine.warm"})
_LOCK: Final = threading.Lock()


def njit(*arguments: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit``, with the cache of this package where ``cache`` is asked for.

    For modules of ``codec`` only. A cache that cannot be written costs time, never the kernel.
    """
    plain = numba.njit(*arguments, **(options | {"cache": False}))
    if not options.get("cache"):
        return plain
    cached = numba.njit(*arguments, **options)

    def decorate(function: Callable[..., Any]) -> Any:
        with _LOCK:
            before = config.CACHE_LOCATOR_CLASSES
            config.CACHE_LOCATOR_CLASSES = f"{__name__}.{KernelCache.__name__}"
            try:
                return cached(function) if cache_place() is not None else plain(function)
            except OSError:  # the place vanished, is full, or misses what it promised
                return plain(function)
            finally:
                config.CACHE_LOCATOR_CLASSES = before

    return decorate


class KernelCache(InTreeCacheLocator):
    """Numba's way to ask where compiled code of a function is, and what it was compiled from."""

    def get_cache_path(self) -> str:
        """The directory of all kernels."""
        return str(cache_place())

    def ensure_cache_path(self) -> None:
        """Nothing to do: the place was found before, and may be complete and read-only."""

    def get_disambiguator(self) -> str:
        """What tells apart two functions of one name in modules of one name."""
        return f"{_name_of(Path(self._py_file))}-{self._lineno}"

    def get_source_stamp(self) -> bytes:
        """Digest of the module and of every other module whose code may be part of its own."""
        return source_stamp(_name_of(Path(self._py_file)))


@lru_cache(maxsize=1)
def cache_place() -> Path | None:
    """The directory that compiled code is read from and written to; None if there is none.

    One that was warmed for this code and processor, writable or not; else the first of
    NUMBA_CACHE_DIR, ``__pycache__`` beside the kernels and the user's cache that can be written.
    """
    places = list(_candidates())
    marker = warm_marker()
    warmed = (place for place in places if (place / marker).exists())
    return next(warmed, None) or next(filter(_is_writable, places), None)


@lru_cache(maxsize=1)
def warm_marker() -> str:
    """Name of the file that says: everything is here, for this code, processor and Numba."""
    digest = hashlib.sha256()
    for module in kernel_modules():
        digest.update(source_stamp(module))
    target = (
        numba.__version__,
        config.CPU_NAME or binding.get_host_cpu_name(),
        config.CPU_FEATURES or binding.get_host_cpu_features().flatten(),
        (config.BOUNDSCHECK, config.OPT),
    )
    digest.update(repr(target).encode())
    return f"clade-{digest.hexdigest()[:20]}.warm"


@lru_cache(maxsize=1)
def kernel_modules() -> tuple[str, ...]:
    """Modules that define compiled functions or what they are made of, named within the package."""
    found = (_name_of(path) for path in PACKAGE.rglob("*.py"))
    return tuple(sorted(name for name in found if _is_compiled(name)))


@lru_cache(maxsize=64)
def source_stamp(module: str) -> bytes:
    """SHA-256 over a module and the modules with compiled code that it imports, in turn."""
    digest = hashlib.sha256()
    for name in sorted(built_from(module)):
        digest.update(_path_of(name).read_bytes())
    return digest.digest()


@lru_cache(maxsize=64)
def built_from(module: str) -> frozenset[str]:
    """A module and the modules with compiled code that it imports, in turn."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        source = _path_of(name).read_text(encoding="utf-8")
        for parent, names in _IMPORTED.findall(source):
            within = parent.removeprefix(".")
            found = [within, *(f"{within}.{each}" for each in re.findall(r"\w+", names))]
            waiting += [each for each in found if _is_compiled(each)]
    return frozenset(seen)


@lru_cache(maxsize=256)
def _is_compiled(name: str) -> bool:
    """Whether there is such a module, with compiled functions or what they are made of."""
    path = _path_of(name)
    if name in _NEVER_PART or not path.exists():
        return False
    return _COMPILED.search(path.read_text(encoding="utf-8")) is not None


def _name_of(path: Path) -> str:
    """``context.kernels`` for ``context/kernels.py`` within the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _path_of(name: str) -> Path:
    return PACKAGE.joinpath(*name.split(".")).with_suffix(".py")


def _candidates() -> Iterator[Path]:
    def kernel() -> None: ...

    here = str(PACKAGE / "gear.py")
    if config.CACHE_DIR:
        yield Path(UserProvidedCacheLocator(kernel, here).get_cache_path())
    yield PACKAGE / "__pycache__"
    yield Path(UserWideCacheLocator(kernel, here).get_cache_path())


def _is_writable(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
    except OSError:
        return False
    return True
