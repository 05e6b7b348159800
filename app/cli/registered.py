"""Commands that other packages register, found by name at once and imported when they are run.

A package offers a command by an entry point of the group ``clade.commands`` that names a Typer
application or a function; the help shows the first sentence of its module's docstring, which is
read without importing the module. Extras of the entry point (``infer = serving.cli:app [torch]``)
say what to install where a package that the command needs is missing.
"""

import ast
import importlib.util
from functools import cached_property
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

GROUP = "clade.commands"


class MissingPackage(Exception):
    """A command needs a package that is not installed; the text says how to get it."""


class Registered(TyperCommand):
    """Stands for a command in lists until it is run."""

    def __init__(self, point: EntryPoint) -> None:
        super().__init__(name=point.name, help=_first_sentence(point.module))
        self._point = point

    def load(self) -> Any:
        """The command itself.

        Raises:
            MissingPackage: it, or what it imports, is not installed.
        """
        try:
            offered = self._point.load()
        except ModuleNotFoundError as error:
            raise MissingPackage(_missing(self._point, error)) from error
        if not isinstance(offered, typer.Typer):
            function, offered = offered, typer.Typer(add_completion=False)
            offered.command(name=self._point.name)(function)
        return typer.main.get_command(offered)


class Commands(TyperGroup):
    """The hub's own commands, then those that are registered; on equal names its own."""

    @cached_property
    def registered(self) -> dict[str, EntryPoint]:
        """By name, in alphabetical order."""
        return {
            name: entry_points(group=GROUP)[name]
            for name in sorted(entry_points(group=GROUP).names)
        }

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, as the help lists them."""
        own = super().list_commands(ctx)
        return own + [name for name in self.registered if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or what stands for it."""
        own = super().get_command(ctx, cmd_name)
        if own is None and cmd_name in self.registered:
            return Registered(self.registered[cmd_name])
        return own

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is about to run."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Registered) else command, rest


def _missing(point: EntryPoint, error: ModuleNotFoundError) -> str:
    extras = ",".join(point.extras)
    remedy = f"pip install 'clade[{extras}]'" if extras else f"install {error.name}"
    return f"`clade {point.name}` needs {error.name}, which is not installed here: {remedy}"


def _first_sentence(module: str) -> str | None:
    """Of a module's docstring, without running the module (its package's ``__init__`` is)."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    loader = spec.loader if spec else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    said = ast.get_docstring(ast.parse(source)) if source else None
    return said.split("\n\n")[0].replace("\n", " ") if said else None
