"""`clade mirror`: what this hub has of its upstream."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.opening import opened
from app.cli.options import DataOption, JsonOption, WaitOption
from app.cli.printing import print_facts

app = typer.Typer()
mirror_app = typer.Typer(no_args_is_help=True, help="What this hub has of its upstream.")
app.add_typer(mirror_app, name="mirror")

RepoArgument = Annotated[str, typer.Argument(help="owner/name, datasets/owner/name, spaces/…")]
RevisionOption = Annotated[
    str | None, typer.Option(help="Branch, tag or commit; default: the default branch.")
]


@mirror_app.command("list")
def list_all(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Mirrored repositories, when they were asked about, and what was not fetched of them."""
    from app.mirror.upkeep import list_mirrors

    with opened(data) as hub:
        with hub.db.read() as session:
            found = list_mirrors(session)
        facts = [
            asdict(each) | {"checked_at": each.checked_at and each.checked_at.isoformat()}
            for each in found
        ]
        print_facts({"upstream": hub.settings.upstream, "repositories": facts}, as_json)


@mirror_app.command()
def refresh(repo: RepoArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Ask the upstream about a repository now. Exit status 1 if it cannot say."""
    from app.mirror.upkeep import parse_address
    from app.mirror.upkeep import refresh as ask

    with opened(data) as hub:
        state = ask(hub, parse_address(repo))
    print_facts({"url": state.url, "stale": state.stale}, as_json)
    if state.stale:
        raise typer.Exit(1)


@mirror_app.command()
def pull(
    repo: RepoArgument,
    revision: RevisionOption = None,
    wait: WaitOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the big files of a revision before anybody asks for them."""
    from app.cli.queue import follow_jobs
    from app.mirror.upkeep import fetch_ahead, parse_address

    with opened(data) as hub:
        queued = fetch_ahead(hub, parse_address(repo), revision)
        if wait:
            follow_jobs(hub, show=not as_json, until_done=True)
    print_facts({"queued": queued}, as_json)
