"""Where vLLM finds a model: a repository of a hub, at a revision, read by a token."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from client.hub import HubClient, RepoName
from client.local import default_cache_dir
from serving.weights.small_files import pull_small_files

SCHEME = "hub://"
DEFAULT_HUB = "http://127.0.0.1:8000"
KEYS = frozenset({"hub", "token", "cache", "threads"})
"""Of ``--model-loader-extra-config``, those that are ours."""


class BadSource(ValueError):
    """What vLLM was told names no model of a hub; the message says what to write."""


def is_address(model: str | None) -> bool:
    """Whether a model is given as ``hub://owner/name``."""
    return model is not None and model.startswith(SCHEME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A repository as far as it can be asked for. ``threads``: transfers and decodes at once."""

    hub: str
    repo: str
    revision: str
    token: str | None = field(repr=False)
    cache: Path
    threads: int

    @classmethod
    def of(
        cls,
        model: str,
        revision: str | None,
        extra: Mapping[str, Any],
        *,
        token: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """From ``hub://owner/name`` or ``owner/name`` and ``--model-loader-extra-config``.

        What that leaves open comes from ``HF_ENDPOINT`` and ``HF_TOKEN``, as for every client of a
        hub. ``revision`` may be vLLM's own kind, which carries the commit that it means. Raises
        BadSource.
        """
        repo = model.removeprefix(SCHEME)
        if len(parts := repo.split("/")) != 2 or not all(parts) or Path(model).is_dir():
            raise BadSource(
                f"--load-format clade loads from a hub, and {model!r} names no model there; write "
                "hub://owner/name"
            )
        threads = extra.get("threads", 4)
        if not isinstance(threads, int) or threads < 1:
            raise BadSource(f"threads is a number of at least 1, not {threads!r}")
        cache = extra.get("cache")
        return cls(
            hub=extra.get("hub") or environment.get("HF_ENDPOINT") or DEFAULT_HUB,
            repo=repo,
            revision=getattr(revision, "commit_hash", None) or revision or "main",
            token=extra.get("token") or token or environment.get("HF_TOKEN"),
            cache=Path(cache) if cache else default_cache_dir(),
            threads=threads,
        )

    def pull(self) -> tuple[str, Path]:
        """The commit, and a directory with all but its weights. Raises ClientError."""
        with HubClient(self.hub, token=self.token) as hub:
            commit = hub.commit_of(RepoName.parse(self.repo), self.revision)
        _, directory = pull_small_files(
            self.repo, commit, endpoint=self.hub, token=self.token, cache=self.cache
        )
        return commit, directory
