"""Conditional and range requests (RFC 9110, sections 13 and 14), for one range at a time.

Several ranges in one header are refused: nobody needs them and a long list is an attack.
"""

import re
from collections.abc import Mapping

from app.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"(\d{0,19})-(\d{0,19})")


def requested_range(headers: Mapping[str, str], nbytes: int, etag: str) -> tuple[int, int] | None:
    """The part ``[start, stop)`` that a GET asks for; None for the whole.

    A header that is malformed, in another unit, or meant for another version (If-Range) is ignored.
    Raises RangeNotSatisfiable for a range beyond the end and for several ranges.
    """
    unit, _, text = headers.get("range", "").partition("=")
    if unit.strip().lower() != "bytes" or headers.get("if-range", etag).strip() != etag:
        return None
    if "," in text:
        raise RangeNotSatisfiable("one range per request", size=nbytes)
    match = _ONE_RANGE.fullmatch(text.strip())
    if match is None or match[0] == "-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, nbytes - int(last)), nbytes
    else:
        start, stop = int(first), int(last) + 1 if last else nbytes
        if last and stop <= start:
            return None
    stop = min(stop, nbytes)
    if start >= stop:
        raise RangeNotSatisfiable(f"the file has {nbytes} bytes", size=nbytes)
    return start, stop


def is_unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Whether If-None-Match names ``etag``, so that 304 is the answer."""
    known = headers.get("if-none-match")
    if known is None:
        return False
    candidates = {candidate.strip().removeprefix("W/") for candidate in known.split(",")}
    return "*" in candidates or etag in candidates
