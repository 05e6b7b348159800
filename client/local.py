"""Contents at hand on this machine: in files pulled before, or in the cache."""

from pathlib import Path
from typing import Self

from client.cache import DEFAULT_LIMIT_NBYTES, ContentCache, RangeReader
from client.pulled import PulledFiles


def default_cache_dir() -> Path:
    """``~/.cache/clade``."""
    return Path.home() / ".cache" / "clade"


class LocalContents:
    """Both places as one. What it reads is unverified."""

    def __init__(self, root: Path, limit_nbytes: int = DEFAULT_LIMIT_NBYTES) -> None:
        self.cache = ContentCache(root, limit_nbytes)
        self.pulled = PulledFiles(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.pulled.close()

    def has(self, digest: bytes) -> bool:
        """Whether a content seems to be at hand."""
        return self.pulled.has(digest) or self.cache.has(digest)

    def open(self, digest: bytes, nbytes: int) -> RangeReader | None:
        """A reader of a content's raw bytes, None if it is not at hand."""
        return self.pulled.open(digest, nbytes) or self.cache.open(digest, nbytes)

    def forget(self, digest: bytes) -> None:
        """A content turned out to be wrong: drop it wherever it is."""
        self.pulled.forget(digest)
        self.cache.drop(digest)
