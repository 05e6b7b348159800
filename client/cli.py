"""``clade pull`` as a function: a bar while it runs, one line of facts at the end."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from client.errors import ClientError
from client.progress import format_nbytes, progress_bar
from client.pull import PullResult, pull


def pull_command(
    repo: str,
    *,
    to: Path,
    endpoint: str,
    revision: str = "main",
    token: str | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    cache: Path | None = None,
    threads: int = 4,
    as_json: bool = False,
) -> int:
    """Pull ``repo`` (``owner/name`` or ``datasets/owner/name``); returns the exit status."""
    console = Console(stderr=True)
    try:
        with progress_bar(console) as progress:
            result = pull(
                repo,
                to=to,
                revision=revision,
                token=token,
                endpoint=endpoint,
                threads=threads,
                allow=include or (),
                ignore=exclude or (),
                cache=cache,
                progress=progress,
            )
    except ClientError as error:
        sys.stderr.write(f"clade: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("clade: interrupted; the same command goes on from here\n")
        return 130
    line = json.dumps(asdict(result)) if as_json else summary(result, to)
    sys.stdout.write(line + "\n")
    return 0


def summary(result: PullResult, to: Path) -> str:
    """What a pull did, in one line."""
    share = result.wire_nbytes / result.disk_nbytes if result.disk_nbytes else 0
    return (
        f"{result.repo}@{result.commit[:7]}: {result.files} files in {to}"
        f" ({result.skipped} were there),"
        f" {format_nbytes(result.wire_nbytes)} on the wire for"
        f" {format_nbytes(result.disk_nbytes)} on disk ({share:.1%})"
    )
