"""`clade token`: what opens the hub, and for how long."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.opening import opened
from app.cli.options import DataOption, JsonOption
from app.cli.printing import print_facts

if TYPE_CHECKING:
    from app.accounts.issuing import ScopeName

app = typer.Typer()
token_app = typer.Typer(no_args_is_help=True, help="Tokens: made, listed, revoked.")
app.add_typer(token_app, name="token")

UNITS = {"m": 60, "h": 3600, "d": 86400}


@token_app.command("create")
def token_create(
    user: Annotated[str, typer.Argument(help="Whose token.")],
    name: Annotated[str, typer.Option(help="What it is called in lists.")] = "command line",
    role: Annotated[
        Literal["read", "write"], typer.Option(help="What it is good for; not with --scope.")
    ] = "read",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="Make it fine-grained: ENTITY:read or ENTITY:write, the entity an account or"
            " [datasets/]owner/name. May be repeated."
        ),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Its life: 90m, 12h, 30d.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token; its secret is printed now and never again."""
    from app.accounts.issuing import issue_token

    scopes = [_scope(each) for each in scope or ()]
    with opened(data) as hub:
        token_id, secret = issue_token(
            hub,
            user,
            name=name,
            role="fineGrained" if scopes else role,
            scopes=scopes,
            lasts=_span(expires) if expires else None,
        )
    print_facts({"id": token_id, "name": user, "token": secret}, as_json)


@token_app.command("list")
def token_list(
    user: Annotated[str | None, typer.Argument(help="Whose tokens; default: all.")] = None,
    revoked: Annotated[bool, typer.Option("--revoked", help="Those that are over, too.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tokens, without their secrets."""
    from app.accounts.issuing import list_tokens
    from app.accounts.orgs import find_user

    with opened(data) as hub, hub.db.read() as session:
        owner = None if user is None else find_user(session, user).id
        found = list_tokens(session, account_id=owner, revoked=revoked)
    rows = [
        {
            "id": each.id,
            "owner": each.owner,
            "name": each.name,
            "role": each.role,
            "scopes": [f"{s.entity}:{'write' if s.writes else 'read'}" for s in each.scopes],
            "expires": str(each.expires_at or "never"),
            "revoked": str(each.revoked_at or ""),
        }
        for each in found
    ]
    print_facts({"tokens": rows}, as_json)


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[int, typer.Argument(help="Its id, as `clade token list` shows it.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a token from now on, and the links that were handed out on its word."""
    from app.accounts.issuing import revoke

    with opened(data) as hub:
        revoke(hub, token_id)
    print_facts({"id": token_id, "revoked": True}, as_json)


def _scope(text: str) -> "ScopeName":
    from app.accounts.issuing import ScopeName

    entity, _, permission = text.rpartition(":")
    if not entity or permission not in {"read", "write"}:
        raise typer.BadParameter(f"{text!r} is not ENTITY:read or ENTITY:write")
    return ScopeName(entity, permission == "write")


def _span(text: str) -> timedelta:
    if text[-1:] not in UNITS or not text[:-1].isdecimal() or len(text) > 8:
        raise typer.BadParameter(f"{text!r} is no life of a token: like 90m, 12h or 30d")
    return timedelta(seconds=int(text[:-1]) * UNITS[text[-1]])
