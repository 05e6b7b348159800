"""`clade backup` and `clade restore`: everything a hub holds, kept elsewhere and brought back."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.opening import opened, settings_of
from app.cli.options import DataOption, JsonOption
from app.cli.printing import print_facts

app = typer.Typer()

PlaceArgument = Annotated[str, typer.Argument(help="Directory, or s3://bucket/prefix?endpoint=….")]


@app.command()
def backup(
    place: PlaceArgument,
    prune: Annotated[
        bool, typer.Option("--prune", help="Then drop older backups, and what only they name.")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, help="How many the pruning keeps.")] = 7,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back the hub up while it runs; objects that are there already are not copied again.

    Exit status 1 if some objects are damaged and therefore missing in the backup; then nothing is
    pruned, as an older backup may have them.
    """
    from app.backup.making import make_backup
    from app.backup.place import open_place
    from app.backup.pruning import prune_place
    from app.cli.bars import bars

    show = not as_json and sys.stderr.isatty()
    with opened(data) as hub, bars(show=show) as progress:
        bar = progress.add_task("copying", total=None)
        store = open_place(place, hub.settings)
        manifest = make_backup(
            hub, store, lambda done, total: progress.update(bar, completed=done, total=total)
        )
        facts = asdict(manifest)
        if prune and not manifest.damaged:
            facts |= {"pruned": asdict(prune_place(hub, store, keep=keep))}
    print_facts(facts, as_json)
    if manifest.damaged:
        raise typer.Exit(1)


@app.command()
def restore(
    place: PlaceArgument,
    verify: Annotated[
        bool, typer.Option(help="Read, decode and hash every byte afterwards.")
    ] = True,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore the newest backup of a place into an empty hub. Exit status 1 if it is not whole."""
    from app.backup.place import open_place
    from app.backup.restoring import restore_backup
    from app.cli.bars import bars
    from app.gc.fsck import fsck

    settings = settings_of(data)
    show = not as_json and sys.stderr.isatty()
    with bars(show=show) as progress:
        bar = progress.add_task("copying", total=None)

        def tell(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        hub, manifest = restore_backup(settings, open_place(place, settings), tell)
        try:
            progress.update(bar, description="reading", completed=0)
            report = fsck(hub, deep=verify, fresh=True, progress=tell)
        finally:
            hub.close()
    print_facts(asdict(manifest) | {"check": asdict(report), "clean": report.clean}, as_json)
    if not report.clean:
        raise typer.Exit(1)
