"""All tables. Importing this package registers every one with the metadata."""

from app.db.tables.accounts import AccessToken, Account, Membership
from app.db.tables.base import Table
from app.db.tables.contents import (
    Content,
    Encoding,
    File,
    FileGrant,
    FormerEncoding,
    Lease,
    Segment,
    Sketch,
    StoredObject,
)
from app.db.tables.families import Family, FamilyMember
from app.db.tables.instance import Instance
from app.db.tables.jobs import Job
from app.db.tables.repos import Commit, Ref, Repo, Tree, TreeEntry
from app.db.tables.uploads import LfsPart, LfsUpload, Xorb, XorbTerm

__all__ = [
    "AccessToken",
    "Account",
    "Commit",
    "Content",
    "Encoding",
    "Family",
    "FamilyMember",
    "File",
    "FileGrant",
    "FormerEncoding",
    "Instance",
    "Job",
    "Lease",
    "LfsPart",
    "LfsUpload",
    "Membership",
    "Ref",
    "Repo",
    "Segment",
    "Sketch",
    "StoredObject",
    "Table",
    "Tree",
    "TreeEntry",
    "Xorb",
    "XorbTerm",
]
