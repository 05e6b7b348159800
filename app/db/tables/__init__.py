"""All tables. Importing this package registers every one with the metadata."""

from app.db.tables.accounts import AccessToken, Account, Membership, TokenScope
from app.db.tables.base import Table
from app.db.tables.contents import (
    Content,
    Encoding,
    File,
    FileGrant,
    FormerEncoding,
    Lease,
    ProposedFile,
    Segment,
    Sketch,
    StoredObject,
)
from app.db.tables.discussions import Discussion, DiscussionEvent
from app.db.tables.families import Family, FamilyMember
from app.db.tables.governance import AuditEvent, FileScan, ProposerUsage, Quota, RepoUsage
from app.db.tables.instance import Instance
from app.db.tables.jobs import Job
from app.db.tables.keeping import Bookmark, Finding, Hold, Rejection
from app.db.tables.mirror import (
    AwaitedFile,
    AwaitedPart,
    AwaitedRange,
    MirroredOrg,
    MirroredRepo,
)
from app.db.tables.repos import Commit, CutHistory, FormerName, Ref, Repo, Tree, TreeEntry
from app.db.tables.search import NameSuffix, RepoCard, RepoTag
from app.db.tables.tuning import (
    TuningCheckpoint,
    TuningEvent,
    TuningFile,
    TuningJob,
    TuningLease,
)
from app.db.tables.uploads import LfsPart, LfsUpload, Xorb, XorbTerm
from app.db.tables.visitors import AccessRequest, RepoLike

__all__ = [
    "AccessRequest",
    "AccessToken",
    "Account",
    "AuditEvent",
    "AwaitedFile",
    "AwaitedPart",
    "AwaitedRange",
    "Bookmark",
    "Commit",
    "Content",
    "CutHistory",
    "Discussion",
    "DiscussionEvent",
    "Encoding",
    "Family",
    "FamilyMember",
    "File",
    "FileGrant",
    "FileScan",
    "Finding",
    "FormerEncoding",
    "FormerName",
    "Hold",
    "Instance",
    "Job",
    "Lease",
    "LfsPart",
    "LfsUpload",
    "Membership",
    "MirroredOrg",
    "MirroredRepo",
    "NameSuffix",
    "ProposedFile",
    "ProposerUsage",
    "Quota",
    "Ref",
    "Rejection",
    "Repo",
    "RepoCard",
    "RepoLike",
    "RepoTag",
    "RepoUsage",
    "Segment",
    "Sketch",
    "StoredObject",
    "Table",
    "TokenScope",
    "Tree",
    "TreeEntry",
    "TuningCheckpoint",
    "TuningEvent",
    "TuningFile",
    "TuningJob",
    "TuningLease",
    "Xorb",
    "XorbTerm",
]
