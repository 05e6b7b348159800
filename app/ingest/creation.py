"""A new repository with its initial commit: ``.gitattributes``, and nothing else."""

from app.accounts.tokens import Principal
from app.catalog.attributes import INITIAL_ATTRIBUTES
from app.catalog.commits import found_history
from app.catalog.git_objects import blob_oid
from app.catalog.repos import RepoType, reserve_repo
from app.catalog.trees import NewFile
from app.db.tables import Repo
from app.hub import Hub
from app.ingest.inline import ingest_inline


def create_repo(
    hub: Hub,
    principal: Principal,
    repo_type: RepoType,
    namespace: str | None,
    name: str,
    *,
    private: bool = False,
) -> Repo:
    """Make a repo in a namespace (default: the principal's own).

    Raises Conflict if it exists, Forbidden if the principal may not write to the namespace,
    InvalidRequest for a name the clients would refuse. If this is cut short, calling it again
    completes the repo.
    """
    repo = reserve_repo(hub, principal, repo_type, namespace, name, private=private)
    [attributes] = ingest_inline(hub, [INITIAL_ATTRIBUTES], repo_id=repo.id)
    file = NewFile(
        blob_oid(INITIAL_ATTRIBUTES), attributes.file_id, len(INITIAL_ATTRIBUTES), is_lfs=False
    )
    found_history(hub, principal, repo, ".gitattributes", file)
    return repo
