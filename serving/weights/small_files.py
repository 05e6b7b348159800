"""What a model needs beside its weights: configuration, tokenizer, chat template."""

from collections.abc import Sequence
from pathlib import Path

from client.pull import pull

SMALL_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")

NO_TENSOR_NBYTES = 64 << 20
"""What is smaller is no tensor file and gains nothing from a codec, which is slow to load."""


def pull_small_files(
    repo: str,
    commit: str,
    *,
    endpoint: str,
    token: str | None,
    cache: Path,
    patterns: Sequence[str] = SMALL_FILES,
) -> tuple[int, Path]:
    """Files at the root of a commit: bytes received, and where they are now. Raises ClientError."""
    directory = cache / "serving" / repo.replace("/", "--") / commit
    pulled = pull(
        repo,
        to=directory,
        revision=commit,
        token=token,
        endpoint=endpoint,
        allow=patterns,
        ignore=("*/*",),
        cache=cache,
        planned_nbytes=NO_TENSOR_NBYTES,
    )
    return pulled.wire_nbytes, directory
