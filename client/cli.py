"""Pull a repository as encoded tensors, decode and verify here; resumes where it stopped."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client.errors import ClientError
from client.progress import format_nbytes, progress_bar
from client.pull import PullResult, pull


def pull_command(
    repo: Annotated[str, typer.Argument(help="owner/name, or datasets/owner/name.")],
    to: Annotated[Path, typer.Option("--to", help="Directory to write to.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    endpoint: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="The hub's address.")
    ] = "http://127.0.0.1:8000",
    token: Annotated[str | None, typer.Option(envvar="HF_TOKEN", help="Access token.")] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", help="Only paths matching this pattern.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="No paths matching this pattern.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where encoded tensors are kept. Default: ~/.cache/clade.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Transfers and decodes at once.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Pull a repository as encoded tensors, decode and verify here; resumes where it stopped."""
    try:
        with progress_bar(Console(stderr=True)) as progress:
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
        raise typer.Exit(1) from error
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("clade: interrupted; the same command goes on from here\n")
        raise typer.Exit(130) from interrupt
    line = json.dumps(asdict(result)) if as_json else summary(result, to)
    sys.stdout.write(line + "\n")


def summary(result: PullResult, to: Path) -> str:
    """What a pull did, in one line."""
    share = result.wire_nbytes / result.disk_nbytes if result.disk_nbytes else 0
    return (
        f"{result.repo}@{result.commit[:7]}: {result.files} files in {to}"
        f" ({result.skipped} were there),"
        f" {format_nbytes(result.wire_nbytes)} on the wire for"
        f" {format_nbytes(result.disk_nbytes)} on disk ({share:.1%})"
    )
