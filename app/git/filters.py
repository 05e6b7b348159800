"""What a partial clone leaves out: trees below a depth, blobs from a length on.

Source: ``--filter`` in git-rev-list(1). What was asked for by its id is sent all the same.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from app.errors import InvalidRequest

_LIMIT = re.compile(r"blob:limit=(\d{1,18})([kmg]?)", re.IGNORECASE)
_DEPTH = re.compile(r"tree:(\d{1,9})")
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30}


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Bounds on what is sent; None: no bound."""

    blob_nbytes: int | None = None
    """Blobs of so many bytes and more are left out."""
    depth: int | None = None
    """Objects so many steps below a commit's tree and more are left out; the tree itself is 0."""

    def takes_tree(self, depth: int) -> bool:
        """Whether a tree this far down is sent."""
        return self.depth is None or depth < self.depth

    def takes_blob(self, depth: int, nbytes: int) -> bool:
        """Whether a blob is sent."""
        return self.takes_tree(depth) and (self.blob_nbytes is None or nbytes < self.blob_nbytes)


EVERYTHING = ObjectFilter()


def parse_filter(spec: str) -> ObjectFilter:
    """What git writes after ``filter``. Raises InvalidRequest for what is not offered."""
    if spec.startswith("combine:"):
        parts = [_parse_one(unquote(part)) for part in spec.removeprefix("combine:").split("+")]
        return ObjectFilter(
            min((part.blob_nbytes for part in parts if part.blob_nbytes is not None), default=None),
            min((part.depth for part in parts if part.depth is not None), default=None),
        )
    return _parse_one(spec)


def _parse_one(spec: str) -> ObjectFilter:
    if spec == "blob:none":
        return ObjectFilter(blob_nbytes=0)
    if limit := _LIMIT.fullmatch(spec):
        return ObjectFilter(blob_nbytes=int(limit[1]) << _UNITS[limit[2].lower()])
    if depth := _DEPTH.fullmatch(spec):
        return ObjectFilter(depth=int(depth[1]))
    raise InvalidRequest(
        f"filter {spec[:80]!a} is not offered by this server: use blob:none, blob:limit or tree"
    )
