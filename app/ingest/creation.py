"""A new repository with its initial commit: ``.gitattributes``, for a space also its README."""

from app.accounts.tokens import Principal
from app.catalog.attributes import INITIAL_ATTRIBUTES
from app.catalog.commits import found_history
from app.catalog.git_objects import blob_oid
from app.catalog.naming import RepoType
from app.catalog.repos import reserve_repo
from app.catalog.trees import NewFile
from app.db.tables import Repo
from app.errors import InvalidRequest
from app.hub import Hub
from app.ingest.inline import ingest_inline

SDKS = ("gradio", "docker", "static", "streamlit")


def create_repo(
    hub: Hub,
    principal: Principal,
    repo_type: RepoType,
    namespace: str | None,
    name: str,
    *,
    private: bool | None = None,
    sdk: str | None = None,
) -> Repo:
    """Make a repo in a namespace (default: the principal's own), by default as private as it says.

    ``sdk``: of a space, written into its README. Raises Conflict if it exists, Forbidden if the
    principal may not write to the namespace, InvalidRequest for a name the clients would refuse. If
    this is cut short, calling it again completes the repo.
    """
    files = {".gitattributes": INITIAL_ATTRIBUTES}
    if repo_type == "space":
        files["README.md"] = _space_card(name, sdk or "static")
    repo = reserve_repo(hub, principal, repo_type, namespace, name, private=private)
    stored = ingest_inline(hub, list(files.values()), repo_id=repo.id)
    found_history(
        hub,
        principal,
        repo,
        {
            path: NewFile(blob_oid(data), each.file_id, len(data), is_lfs=False)
            for (path, data), each in zip(files.items(), stored, strict=True)
        },
    )
    return repo


def _space_card(name: str, sdk: str) -> bytes:
    if sdk not in SDKS:
        raise InvalidRequest(f"sdk: one of {', '.join(SDKS)}")
    return f"---\ntitle: {name}\nsdk: {sdk}\npinned: false\n---\n".encode()
