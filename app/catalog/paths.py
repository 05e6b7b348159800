"""Which paths a repository may hold: none that could escape, alias or hide on a user's disk.

Rules: huggingface_hub's ``_validate_relative_filename``, git's fsck for ``.git`` and what NTFS and
HFS+ take for it, Windows' device names, and Unicode: NFC only, no control or direction characters.
Names with backslashes are for hubs that say so: a letter to git and Linux, a directory to Windows.
"""

import re
import unicodedata

from app.errors import InvalidPath, LimitExceeded
from app.settings import Limits

_DEVICES = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE
)
_DRIVE = re.compile(r"[A-Za-z]:")
_GIT_ALIAS = re.compile(r"(\.git|git~[0-9]+)(\s*\..*|\s*:.*|\s*)", re.IGNORECASE)
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control, format (zero-width, direction), surrogate, line and paragraph separators."""

_JOINERS = frozenset({"\u200c", "\u200d"})
"""Zero-width joiners belong to Persian, Indic scripts and emoji; HFS+ ignores them in names."""


def check_path(path: str, limits: Limits) -> str:
    """Return ``path``. Raises InvalidPath, or LimitExceeded with the name of the limit."""
    if not path:
        raise InvalidPath("a path is empty")
    for char in path:
        if unicodedata.category(char) in HIDDEN_CATEGORIES and char not in _JOINERS:
            raise InvalidPath(f"{_shown(path)}: the character U+{ord(char):04X} is not allowed")
    if "\\" in path and not limits.path_backslashes:
        raise InvalidPath(
            f"{_shown(path)}: use / and not \\ between directories (names that hold it are taken"
            " by hubs that set limits.path_backslashes)"
        )
    if path.startswith("..\\"):  # by the Hugging Face Hub's rule as well
        raise InvalidPath(f"{_shown(path)}: it leads out of the repository on Windows")
    if unicodedata.normalize("NFC", path) != path:
        raise InvalidPath(f"{_shown(path)}: Unicode names must be in normal form NFC")
    if len(path.encode()) > limits.path_nbytes:
        raise LimitExceeded(f"{_shown(path)}: path too long", setting="limits.path_nbytes")
    parts = path.split("/")
    if len(parts) > limits.path_parts:
        raise LimitExceeded(f"{_shown(path)}: too many parts", setting="limits.path_parts")
    for part in parts:
        if len(part.encode()) > limits.path_part_nbytes:
            raise LimitExceeded(f"{_shown(path)}: name too long", setting="limits.path_part_nbytes")
        fault = _part_fault(part)
        if fault:
            raise InvalidPath(f"{_shown(path)}: {fault}")
    return path


def twin_key(name: str) -> str:
    """Names with equal keys are one file on a disk that ignores case or normalises Unicode."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", _without_joiners(folded))


def _without_joiners(text: str) -> str:
    return "".join(char for char in text if char not in _JOINERS)


def _part_fault(part: str) -> str | None:
    if part == "":
        return "no leading, trailing or double slashes"
    if part in {".", ".."}:
        return "no . or .. in a path"
    if _DRIVE.match(part):
        return "drive letters are not allowed"
    if part[-1] in ". ":
        return "no name may end with a dot or a space"
    # Where names may hold backslashes, Windows sees several in one, and git there refuses .git.
    if any(_GIT_ALIAS.fullmatch(piece) for piece in _without_joiners(part).split("\\")):
        return ".git is git's own"
    if _DEVICES.fullmatch(part):
        return "device names of Windows are not allowed"
    return None


def _shown(path: str) -> str:
    return ascii(path if len(path) <= 120 else path[:117] + "...")
