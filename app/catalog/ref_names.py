"""What branches and tags may be called: nothing that git, a disk or a reader takes for another."""

import re
import unicodedata
from collections.abc import Iterator

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.catalog.paths import HIDDEN_CATEGORIES
from app.db.tables import Ref, Repo
from app.errors import InvalidRequest

BRANCH = "refs/heads/"
TAG = "refs/tags/"
MAX_NBYTES = 255

_FORBIDDEN = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^\.|\.lock(/|$)|\.$|^/|/$|^@$|^-|^HEAD$"
)
"""git-check-ref-format(1), rules 1 to 9, and what ``git branch`` refuses beyond them."""

_WHOLE_OID = re.compile(r"[0-9a-fA-F]{40}")


def check_ref_name(name: str) -> str:
    """Return a full ref name. Raises InvalidRequest.

    Refused is what git refuses or takes for the id of a commit, and what looks like another name:
    characters of no width or of direction, Unicode in another form than NFC.
    """
    short = name.removeprefix(BRANCH).removeprefix(TAG)
    if name in {BRANCH, TAG}:
        raise InvalidRequest("Invalid reference name: it is empty")
    if len(name.encode()) > MAX_NBYTES or _FORBIDDEN.search(short):
        raise InvalidRequest(f"Invalid reference name: {name[:120]!a}")
    if _WHOLE_OID.fullmatch(short):
        raise InvalidRequest(f"Invalid reference name: {name} reads like the id of a commit")
    if unicodedata.normalize("NFC", name) != name:
        raise InvalidRequest(
            f"Invalid reference name: {name!a}: Unicode must be in normal form NFC"
        )
    if hidden := next((c for c in name if unicodedata.category(c) in HIDDEN_CATEGORIES), None):
        raise InvalidRequest(f"Invalid reference name: U+{ord(hidden):04X} is not allowed in it")
    return name


class RefNames:
    """The branches and tags of a repo, to which nobody else adds until the transaction ends.

    git keeps refs as files: none can be a directory of another, and whoever clones such a pair gets
    an error. Names that differ in case alone are two, as they are to git and the Hugging Face Hub.
    """

    def __init__(self, session: Session, repo_id: int) -> None:
        """Take the repo's row, after those of its refs, and read the names."""
        session.scalar(select(Repo.id).where(Repo.id == repo_id).with_for_update(key_share=True))
        kinds = or_(*(Ref.name.startswith(kind) for kind in (BRANCH, TAG)))
        self._names: set[str] = set()
        self._directories: dict[str, str] = {}
        for name in session.scalars(select(Ref.name).where(Ref.repo_id == repo_id, kinds)):
            self.add(name)

    def add(self, name: str) -> None:
        """A ref is there now."""
        self._names.add(name)
        for above in _directories(name):
            self._directories[above] = name

    def clashing(self, name: str) -> str | None:
        """A ref, not of this very name, beside which this one cannot be; None if there is none."""
        above = (directory for directory in _directories(name) if directory in self._names)
        return self._directories.get(name) or next(above, None)


def _directories(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(3, len(parts)))
