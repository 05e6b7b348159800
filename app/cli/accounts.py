"""`clade user` and `clade org`: who may use the hub."""

from typing import Annotated, Literal

import typer

from app.cli.opening import opened
from app.cli.options import DataOption, JsonOption
from app.cli.printing import print_facts

app = typer.Typer()
user_app = typer.Typer(no_args_is_help=True, help="Users and their tokens.")
app.add_typer(user_app, name="user")
org_app = typer.Typer(no_args_is_help=True, help="Organisations and who belongs to them.")
app.add_typer(org_app, name="org")

TokenRole = Literal["read", "write"]
OrgRole = Literal["admin", "write", "contributor", "read"]


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

    with opened(data, new=True) as hub:
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
    print_facts({"name": created.name, "token": created.token}, as_json)


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

    with opened(data) as hub:
        given = give_token(hub, name, token=token, role=role)
    print_facts({"name": name, "token": given, "role": role}, as_json)


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

    with opened(data) as hub:
        create_org(hub, name, fullname=fullname, admins=admin, private_by_default=private)
    print_facts({"name": name, "admins": ", ".join(admin)}, as_json)


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

    with opened(data) as hub:
        join_org(hub, name, user, role)
    print_facts({"name": name, "user": user, "role": role}, as_json)
