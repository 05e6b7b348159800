"""From the first bytes of a file to its layout: which format it is and what its segments are."""

from app.formats import gguf, isolated, safetensors
from app.formats.segments import Doubt, FileSegment, HeaderLimits, Layout, NeedMore
from app.settings import Limits

__all__ = ["SMALL_FILE_NBYTES", "FileSegment", "Layout", "NeedMore", "parse_layout"]

SMALL_FILE_NBYTES = 16 << 10
"""Files below this are one literal, whatever they are: a row per tensor would outweigh them."""

SNIFF_NBYTES = 64
"""First bytes that tell the format."""

WALK_NBYTES = 256 << 10
"""First bytes asked for where the header does not say how long it is."""

OPAQUE = Layout("opaque")


def parse_layout(prefix: bytes, file_nbytes: int, limits: Limits) -> NeedMore | Layout:
    """Layout of the file of ``file_nbytes`` that begins with ``prefix``.

    Asks for more with :class:`NeedMore`, never for more than the file has or than
    ``limits.header_nbytes`` and a few bytes. A file that looks like safetensors or GGUF but is not
    so beyond doubt is opaque, with a warning that names the fault. Headers beyond
    ``limits.header_inline_nbytes`` are parsed in a child process.

    Raises :class:`~app.errors.Unavailable` if that process cannot be started.
    """
    if file_nbytes < SMALL_FILE_NBYTES:
        return OPAQUE
    if len(prefix) < SNIFF_NBYTES:
        return NeedMore(SNIFF_NBYTES)
    is_gguf = prefix.startswith(gguf.MAGIC)
    try:
        if is_gguf:
            return _parse_gguf(prefix, file_nbytes, limits)
        if safetensors.looks_like(prefix):
            return _parse_safetensors(prefix, file_nbytes, limits)
    except Doubt as doubt:
        name = "GGUF" if is_gguf else "safetensors"
        warning = f"stored as opaque bytes: it looks like {name}, but {doubt.fault}"
        return Layout("opaque", warning=warning)
    return OPAQUE


def _bounds(limits: Limits) -> HeaderLimits:
    return HeaderLimits(limits.header_nbytes, limits.tensors_per_file)


def _parse_safetensors(prefix: bytes, file_nbytes: int, limits: Limits) -> Layout | NeedMore:
    bounds = _bounds(limits)
    extent = safetensors.header_extent(prefix, file_nbytes, bounds)
    if len(prefix) < extent:
        return NeedMore(extent)
    if extent > limits.header_inline_nbytes:
        return isolated.parse("safetensors", prefix[:extent], file_nbytes, bounds)
    return safetensors.parse(prefix, file_nbytes, bounds)


def _parse_gguf(prefix: bytes, file_nbytes: int, limits: Limits) -> Layout | NeedMore:
    wanted = min(WALK_NBYTES, file_nbytes)
    if len(prefix) < wanted:
        return NeedMore(wanted)
    bounds = _bounds(limits)
    answer = gguf.parse(prefix[: limits.header_inline_nbytes], file_nbytes, bounds)
    if isinstance(answer, NeedMore) and len(prefix) >= answer.nbytes:
        return isolated.parse("gguf", prefix, file_nbytes, bounds)
    return answer
