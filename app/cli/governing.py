"""`clade quota`, `clade audit` and `clade org dedup`: how much, by whom, and found by whom."""

from typing import Annotated, Any, Literal

import typer

from app.cli.accounts import org_app
from app.cli.opening import opened
from app.cli.options import DataOption, JsonOption
from app.cli.printing import print_facts

app = typer.Typer()
quota_app = typer.Typer(no_args_is_help=True, help="How much accounts and repositories may have.")
app.add_typer(quota_app, name="quota")

Target = Annotated[str, typer.Argument(help="An account, or [datasets/]owner/name.")]
Most = Annotated[int | None, typer.Option(min=0, help="0 takes the bound away.")]


@quota_app.command("set")
def quota_set(
    target: Target,
    nbytes: Annotated[
        int | None,
        typer.Option("--bytes", min=0, help="Logical bytes; 0 takes the bound away."),
    ] = None,
    files: Most = None,
    repos: Most = None,
    proposed_nbytes: Annotated[
        int | None,
        typer.Option("--proposed-bytes", min=0, help="In pull requests to others' repositories."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bound an account or a repository; what is not named stays as it was."""
    from app.accounts.quotas import Amounts, set_quota

    with opened(data) as hub:
        bounds = set_quota(hub, target, Amounts(nbytes, files, repos, proposed_nbytes))
    print_facts({"target": target} | _amounts(bounds), as_json)


@quota_app.command("show")
def quota_show(target: Target, data: DataOption = None, as_json: JsonOption = False) -> None:
    """What an account or repository may have, and what it has."""
    from app.accounts.quotas import read_quota

    with opened(data) as hub, hub.db.read() as session:
        bounds, used = read_quota(session, hub, target)
    print_facts({"target": target, "most": _amounts(bounds), "used": _amounts(used)}, as_json)


@app.command()
def audit(
    actor: Annotated[str | None, typer.Option(help="Only what this user did.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only this, e.g. repo.delete; with a dot at its end, a kind.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Only to this, e.g. model/owner/name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who did what, newest first."""
    from app.accounts.audit import list_events

    with opened(data) as hub, hub.db.read() as session:
        found = list_events(session, actor=actor, action=action, target=target, limit=limit)
    rows = [
        {
            "at": each.at.isoformat(timespec="seconds"),
            "actor": each.actor,
            "action": each.action,
            "target": each.target,
            "detail": each.detail,
            "address": each.address,
            "request": each.request_id or "",
        }
        for each in found
    ]
    print_facts({"events": rows}, as_json)


@org_app.command("dedup")
def org_dedup(
    name: Annotated[str, typer.Argument(help="A user or organisation.")],
    domain: Annotated[
        Literal["namespace", "hub", "default"],
        typer.Argument(help="Where its private bytes may be found stored already."),
    ],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let private bytes be found again in their namespace only, or in the whole hub."""
    from app.accounts.domains import set_dedup

    with opened(data) as hub:
        set_dedup(hub, name, None if domain == "default" else domain)
    print_facts({"name": name, "dedup": domain}, as_json)


def _amounts(amounts: Any) -> dict[str, int | None]:
    names = ("nbytes", "files", "repos", "proposed_nbytes")
    return {name: getattr(amounts, name) for name in names}
