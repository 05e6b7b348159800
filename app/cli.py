"""The `clade` command: run a hub, look after it, pull from it."""

import json
import sys
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings import Settings, unknown_setting

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A model hub that knows its families.",
)
user_app = typer.Typer(no_args_is_help=True, help="Users and their tokens.")
app.add_typer(user_app, name="user")
org_app = typer.Typer(no_args_is_help=True, help="Organisations and who belongs to them.")
app.add_typer(org_app, name="org")

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory of the hub. Default: CLADE_DATA or ./data."),
]
TokenRole = Literal["read", "write"]
OrgRole = Literal["admin", "write", "contributor", "read"]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; errors a user can act on are one line on stderr and exit status 1."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.errors import HubError

    try:
        app()
    except HubError as error:
        fault = error.message
    except ValidationError as error:
        fault = "; ".join(_bad_setting(each) for each in error.errors(include_url=False))
    except SQLAlchemyError as error:
        fault = f"the database does not answer: {' '.join(str(error).split())}"
    except OSError as error:
        fault = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    else:
        return
    print(f"clade: {fault}", file=sys.stderr)
    raise SystemExit(1)


@app.command()
def serve(
    data: DataOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")
    ] = 8000,
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
    role: Annotated[TokenRole, typer.Option(help="What the token is good for.")] = "write",
    email: Annotated[str | None, typer.Option(help="Shown by whoami.")] = None,
    fullname: Annotated[str | None, typer.Option(help="Shown by whoami.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a user with a token; running it again with the same arguments changes nothing."""
    from app.accounts.users import create_user

    with _open(data, new=True) as hub:
        created = create_user(
            hub,
            name,
            token=token,
            admin=admin,
            orgs=org or (),
            role=role,
            email=email,
            fullname=fullname or "",
        )
    _print({"name": created.name, "token": created.token}, as_json)


@user_app.command("token")
def user_token(
    name: Annotated[str, typer.Argument(help="Whose token.")],
    token: Annotated[
        str | None, typer.Option(help="A given token; default: a fresh one is printed.")
    ] = None,
    role: Annotated[TokenRole, typer.Option(help="What the token is good for.")] = "read",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a user one more token."""
    from app.accounts.users import give_token

    with _open(data) as hub:
        given = give_token(hub, name, token=token, role=role)
    _print({"name": name, "token": given, "role": role}, as_json)


@org_app.command("create")
def org_create(
    name: Annotated[str, typer.Argument(help="Any name the Hub allows.")],
    admin: Annotated[list[str], typer.Option("--admin", help="A user who runs it.")],
    fullname: Annotated[str, typer.Option(help="Shown by whoami.")] = "",
    private: Annotated[
        bool, typer.Option("--private", help="Its new repositories are private by default.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an organisation."""
    from app.accounts.users import create_org

    with _open(data) as hub:
        create_org(hub, name, fullname=fullname, admins=admin, private_by_default=private)
    _print({"name": name, "admins": ", ".join(admin)}, as_json)


@org_app.command("member")
def org_member(
    name: Annotated[str, typer.Argument(help="The organisation.")],
    user: Annotated[str, typer.Argument(help="Who joins it, or gets another role.")],
    role: Annotated[OrgRole, typer.Option(help="contributor: own repositories only.")] = "read",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a user into an organisation, or give him another role in it."""
    from app.accounts.users import join_org

    with _open(data) as hub:
        join_org(hub, name, user, role)
    _print({"name": name, "user": user, "role": role}, as_json)


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
            with suppress(KeyboardInterrupt):
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
        facts, clean = console.fsck_facts(hub, deep=deep, show=not as_json)
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
def reencode(
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when all jobs are done; helps with the work.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Code again what an older version stored, where that saves bytes."""
    from app import console

    with _open(data) as hub:
        _print(console.reencode_facts(hub, wait=wait, show=not as_json), as_json)


@app.command()
def warm(as_json: JsonOption = False) -> None:
    """Compile the codec ahead of its first use. Exit status 1 if that cannot be kept on disk."""
    import codec

    loaded = codec.load()
    _print(asdict(loaded), as_json)
    if loaded.directory is None:
        place = "no cache directory can be written; set NUMBA_CACHE_DIR to one that can"
        print(f"clade: {place}", file=sys.stderr)
        raise typer.Exit(1)


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


def _open(data: Path | None, *, new: bool = False) -> Any:
    """The hub, closed when left; one that does not exist is made only if ``new``."""
    from app.errors import NotFound
    from app.hub import open_hub
    from app.log import configure_logging

    settings = _settings(data)
    if not (new or hub_exists(settings)):
        raise NotFound(
            f"there is no hub in {settings.data}; name its directory with --data, or start one "
            f"with `clade serve --data {settings.data}`"
        )
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "WARNING"})
    configure_logging(settings)
    return closing(open_hub(settings))


def hub_exists(settings: Settings) -> bool:
    """Whether an embedded database was made; what a database server holds shows on opening."""
    url = settings.resolved_database_url
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def _bad_setting(error: ErrorDetails) -> str:
    name = "CLADE_" + "__".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "extra_forbidden":
        return unknown_setting(name)
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    return f"{name}: {error['msg']}"


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    from app import console

    print("\n".join(console.as_lines(facts)))
