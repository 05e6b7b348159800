"""A result as a commit of a repository, checked by what comes back."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from client.pull import pull

Logits = Callable[[torch.Tensor], torch.Tensor]
PROBES = ((3,), (5, 3, 4, 3, 5), tuple(range(3, 20)))
"""Token ids that a published result is asked about; every vocabulary has them."""


class NotPublished(Exception):
    """The hub did not take the result, or gives back another; what is on disk is whole."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a result can be had. ``commit`` on the hub."""

    repo: str
    commit: str
    url: str


def publish(
    directory: Path, repo: str, *, hub: str, token: str | None, private: bool, title: str
) -> Published:
    """Upload a directory as one commit; the repository is made if need be. Raises NotPublished."""
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=hub, token=token or False)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repo, folder_path=directory, commit_message=title)
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        told = " ".join(str(error).split())
        raise NotPublished(f"{repo} was not published: {told}; it lies in {directory}") from error
    return Published(repo, done.oid, f"{hub.rstrip('/')}/{repo}")


def verify(
    published: Published,
    ours: Logits,
    theirs: Callable[[Path], Logits],
    *,
    hub: str,
    token: str | None,
) -> None:
    """Pull what was published and compare logits, bit for bit. Raises NotPublished, ClientError.

    ``theirs`` loads a directory.
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
        back = theirs(to)
        for probe in PROBES:
            tokens = torch.tensor([probe])
            if not torch.equal(ours(tokens), back(tokens)):
                raise NotPublished(
                    f"{published.repo} at {published.commit} does not answer as what was trained"
                )
