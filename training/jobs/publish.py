"""A result as a commit of a repository, checked by what comes back."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from client.hub import HubClient, RepoName
from client.pull import pull

LOOK_S = 0.5


class NotPublished(Exception):
    """The hub did not take the result, or gives back another; what is on disk is whole."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a result can be had, and what it takes there. ``commit`` on the hub.

    ``stored_nbytes`` of ``logical_nbytes``: as far as the hub had compressed it (``is_settled``:
    wholly) when it was last looked at.
    """

    repo: str
    commit: str
    url: str
    logical_nbytes: int = 0
    stored_nbytes: int = 0
    is_settled: bool = False

    def __str__(self) -> str:
        share = self.stored_nbytes / max(self.logical_nbytes, 1)
        so_far = "" if self.is_settled else " so far"
        return (
            f"{self.url}, stored in {self.stored_nbytes:,} of {self.logical_nbytes:,} bytes"
            f" ({share:.1%}){so_far}"
        )

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def publish(
    directory: Path, repo: str, *, hub: str, token: str | None, private: bool | None, title: str
) -> Published:
    """Upload a directory as one commit. Raises NotPublished.

    ``private``: how the repository is made if there is none; None: it is there.
    """
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=hub, token=token or False)
    try:
        if private is not None:
            api.create_repo(repo, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repo, folder_path=directory, commit_message=title)
    except (HfHubHTTPError, HTTPError, OSError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise NotPublished(f"{repo} was not published: {told}; it lies in {directory}") from error
    return Published(repo, done.oid, f"{hub.rstrip('/')}/{repo}")


def verify(
    published: Published,
    is_same: Callable[[Path], bool],
    *,
    hub: str,
    token: str | None,
) -> None:
    """Pull what was published and compare. Raises NotPublished, ClientError, what is_same raises.

    ``is_same``: whether what is in a directory answers as what was trained.
    """
    with tempfile.TemporaryDirectory() as home:
        to = Path(home) / "pulled"
        pull(
            published.repo,
            to=to,
            revision=published.commit,
            token=token,
            endpoint=hub,
            cache=Path(home) / "cache",
        )
        if not is_same(to):
            raise NotPublished(
                f"{published.repo} at {published.commit} does not answer as what was trained"
            )


def weigh(published: Published, *, hub: str, token: str | None, settle_s: float) -> Published:
    """With what it takes in the store; waits so long for the hub to compress it. ClientError."""
    repo, deadline = RepoName.parse(published.repo), time.monotonic() + settle_s
    with HubClient(hub, token=token) as client:
        while True:
            told = client.storage(repo, published.commit)
            if told["settled"] or time.monotonic() >= deadline:
                break
            time.sleep(LOOK_S)
    return replace(
        published,
        logical_nbytes=told["logical_bytes"],
        stored_nbytes=told["stored_bytes"],
        is_settled=told["settled"],
    )
