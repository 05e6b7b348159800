"""Where `clade` begins: its commands together, and the faults a user can act on as one line."""

import sys

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.cli import accounts, backup, governing, jobs, mirror, running, tokens, upkeep
from app.cli.registered import Commands, MissingPackage
from app.settings import unknown_setting

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A model hub that knows its families.",
)
for group in (running, jobs, upkeep, backup, mirror, accounts, tokens, governing):
    app.add_typer(group.app)


def main() -> None:
    """Run the command line; errors a user can act on are one line on stderr and exit status 1."""
    try:
        app()
    except Exception as error:
        fault = _fault(error)
        if fault is None:
            raise
        print(f"clade: {fault}", file=sys.stderr)
        raise SystemExit(1) from error


def _fault(error: Exception) -> str | None:
    """What to tell the user; None for what he can do nothing about."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.errors import HubError

    match error:
        case HubError():
            return error.message
        case MissingPackage():
            return str(error)
        case ValidationError():
            return "; ".join(_bad_setting(each) for each in error.errors(include_url=False))
        case SQLAlchemyError():
            return f"the database does not answer: {' '.join(str(error).split())}"
        case OSError():
            return f"{error.strerror}: {error.filename}" if error.filename else str(error)
        case _:
            return None


def _bad_setting(error: ErrorDetails) -> str:
    name = "CLADE_" + "__".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "extra_forbidden":
        return unknown_setting(name)
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    return f"{name}: {error['msg']}"
