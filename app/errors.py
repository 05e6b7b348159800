"""The one error tree of the hub: a class per thing a caller can act on.

    HubError
    ├── InvalidRequest         the request is malformed; the message names the field
    │   ├── InvalidPath        a repository path that could escape, alias or hide
    │   ├── LimitExceeded      a size, count or depth beyond a setting; names the setting
    │   ├── IntegrityError     bytes do not match the digest or size they were announced with
    │   └── MissingUploads     a commit names files whose bytes must be sent first; lists them
    ├── Unauthorized           no credentials, or wrong ones
    ├── Forbidden              known caller, not allowed
    │   ├── QuotaExceeded      it would be more than an account or repository may have
    │   ├── GatedRepo          the repo exists for the caller, its files are for those let in
    │   └── ReadOnlyRepo       a mirror: it is changed on its upstream only
    ├── NotFound
    │   ├── RepoNotFound
    │   │   └── RepoMoved      it is found under another name
    │   ├── RevisionNotFound
    │   ├── EntryNotFound
    │   └── ContentNotFound    an oid, xorb or upload that the caller has not stored here
    ├── Conflict               the name is taken, or the state forbids it
    │   ├── StaleParent        parentCommit is no longer the head of the branch
    │   └── LeaseLost          a trainer's claim on a job is over: somebody else may have it
    ├── RangeNotSatisfiable
    ├── RateLimited            the caller asked too often; says when to come back
    ├── NotOffered             the Hugging Face Hub has this, this hub does not
    └── Unavailable            transient: the store or database did not answer; retry
        ├── StorageFull        no room: somebody has to make some first
        ├── Damaged            stored bytes fail their checksum and no other copy is at hand
        ├── UpstreamDown       the upstream of a mirror cannot be asked, or is in trouble itself
        │   └── UpstreamSlow   it did not answer in time
        └── UpstreamLied       what it sent is not what it announced; nothing of it is kept

Nothing below ``app.api`` knows a status code; ``app.api.errors`` maps each class to status and
X-Error-Code in one table.
"""


class HubError(Exception):
    """Base of all errors that a caller may see. ``transient`` is what retry logic asks."""

    transient = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(HubError):
    """The request is malformed."""


class InvalidPath(InvalidRequest):
    """A path in a repository that is not allowed."""


class LimitExceeded(InvalidRequest):
    """More than a limit allows; ``setting`` is the knob that raises it."""

    def __init__(self, message: str, *, setting: str) -> None:
        super().__init__(f"{message} (limit: {setting})")
        self.setting = setting


class IntegrityError(InvalidRequest):
    """Received bytes are not the announced ones."""


class MissingUploads(InvalidRequest):
    """A commit names files that are not here, not whole or not this caller's: send them."""

    def __init__(self, message: str, *, oids: list[str]) -> None:
        super().__init__(message)
        self.oids = oids


class Unauthorized(HubError):
    """No or wrong credentials."""


class Forbidden(HubError):
    """The caller is known and may not do this."""


class QuotaExceeded(Forbidden):
    """More than an account or repository may have; ``quota`` says of what."""

    def __init__(self, message: str, *, quota: str) -> None:
        super().__init__(f"{message} (quota: {quota})")
        self.quota = quota


class GatedRepo(Forbidden):
    """A gated repository whose files this caller was not let in to."""


class ReadOnlyRepo(Forbidden):
    """A mirrored repository: changes are made on its upstream."""


class NotFound(HubError):
    """Something does not exist, or not for this caller."""


class RepoNotFound(NotFound):
    """No such repository for this caller."""


class RepoMoved(RepoNotFound):
    """The repository was renamed or transferred; ``repo_id`` is ``namespace/name`` today."""

    def __init__(self, repo_id: str) -> None:
        super().__init__(f"Repository not found: it was moved to {repo_id}")
        self.repo_id = repo_id


class RevisionNotFound(NotFound):
    """The repository has no such branch, tag or commit."""


class EntryNotFound(NotFound):
    """The revision has no such file or directory. ``commit`` is the commit looked into."""

    def __init__(self, message: str, *, commit: str | None = None) -> None:
        super().__init__(message)
        self.commit = commit


class ContentNotFound(NotFound):
    """An object id that the caller has not stored here."""


class Conflict(HubError):
    """The name is taken or the state forbids the change. ``url`` points to what is in the way."""

    def __init__(self, message: str, *, url: str | None = None) -> None:
        super().__init__(message)
        self.url = url


class StaleParent(Conflict):
    """The branch moved on since the caller looked."""


class LeaseLost(Conflict):
    """The job is not this trainer's any more: drop it, write nothing."""


class RangeNotSatisfiable(HubError):
    """The requested range lies outside the file of ``size`` bytes."""

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class RateLimited(HubError):
    """More requests than a limit allows; ``setting`` raises it, ``retry_after_s`` waits for it."""

    def __init__(self, message: str, *, setting: str, retry_after_s: int) -> None:
        super().__init__(f"{message} (limit: {setting})")
        self.setting = setting
        self.retry_after_s = retry_after_s


class NotOffered(HubError):
    """A part of the Hugging Face Hub that this hub leaves out; the message says why."""


class Unavailable(HubError):
    """A dependency did not answer; the same request may succeed later."""

    transient = True


class StorageFull(Unavailable):
    """There is no room for what was sent; nothing of it was kept."""

    transient = False


class Damaged(Unavailable):
    """Stored bytes fail their checksum and no other copy is at hand."""


class UpstreamDown(Unavailable):
    """The upstream of a mirror does not answer, or says that it cannot."""


class UpstreamSlow(UpstreamDown):
    """The upstream of a mirror took longer than the settings allow."""


class UpstreamLied(Unavailable):
    """The upstream of a mirror sent something else than it announced, or may send."""
