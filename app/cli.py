"""The `clade` command: run a hub, look after it, pull from it."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="A model hub that knows its families."
)
user_app = typer.Typer(no_args_is_help=True, help="Users and their tokens.")
app.add_typer(user_app, name="user")

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory of the hub. Default: CLADE_DATA or ./data."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; errors of ours are one line on stderr and exit status 1."""
    from app.errors import HubError

    try:
        app()
    except HubError as error:
        print(f"clade: {error.message}", file=sys.stderr)
        raise SystemExit(1) from None


@app.command()
def serve(
    data: DataOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Run the hub: HTTP front and, without a broker, its background jobs."""
    from app.serve import serve as run

    run(_settings(data), host=host, port=port)


@user_app.command("create")
def user_create(
    name: Annotated[str, typer.Argument(help="Any name the Hub allows.")],
    token: Annotated[
        str | None,
        typer.Option(help="A given token, for seeding; default: a fresh one is printed."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May see and do everything.")] = False,
    org: Annotated[
        list[str] | None, typer.Option("--org", help="Member (and creator) of this organisation.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Shown by whoami.")] = None,
    fullname: Annotated[str | None, typer.Option(help="Shown by whoami.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a user with a token; running it again with the same arguments changes nothing."""
    from app.accounts.users import create_user

    with _open(data) as hub:
        created = create_user(
            hub,
            name,
            token=token,
            admin=admin,
            orgs=org or (),
            email=email,
            fullname=fullname or "",
        )
    _print({"name": created.name, "token": created.token}, as_json)


@app.command()
def jobs(
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when nothing is left to do; helps with the work.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow with a progress bar.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show background jobs. Exit status 1 if any was given up."""
    from app import console

    with _open(data) as hub:
        if wait or watch:
            console.follow_jobs(hub, show=watch, until_done=wait)
        facts = console.job_facts(hub)
    _print(facts, as_json)
    if facts["failed"]:
        raise typer.Exit(1)


@app.command()
def stats(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Logical bytes, stored bytes as the bucket holds them, and what saved the difference."""
    from app import console

    with _open(data) as hub:
        _print(console.stats_facts(hub), as_json)


@app.command()
def fsck(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read, decode and digest every stored byte.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that everything promised is there. Exit status 1 if anything is wrong."""
    from app import console

    with _open(data) as hub:
        facts, clean = console.fsck_facts(hub, deep=deep)
    _print(facts, as_json)
    if not clean:
        raise typer.Exit(1)


@app.command()
def gc(
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait out the grace periods (readers may retry).")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect bytes that nothing refers to."""
    from app import console

    with _open(data) as hub:
        _print(console.gc_facts(hub, now=now), as_json)


@app.command()
def pull(
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
    as_json: JsonOption = False,
) -> None:
    """Pull a repository as encoded tensors, decode and verify here; resumes where it stopped."""
    from client.cli import pull_command

    raise typer.Exit(
        pull_command(
            repo,
            to=to,
            revision=revision,
            endpoint=endpoint,
            token=token,
            include=include,
            exclude=exclude,
            cache=cache,
            threads=threads,
            as_json=as_json,
        )
    )


def _settings(data: Path | None) -> Settings:
    """Settings from the environment, the data directory from the command line if given."""
    return Settings(data=data) if data is not None else Settings()  # pyright: ignore[reportCallIssue]


def _open(data: Path | None) -> Any:
    from contextlib import closing

    from app.serve import open_hub

    return closing(open_hub(_settings(data)))


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    from app import console

    console.show(facts)
