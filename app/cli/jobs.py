"""`clade jobs`: background work, shown, followed or done here."""

from contextlib import suppress
from typing import Annotated

import typer

from app.cli.opening import opened
from app.cli.options import DataOption, JsonOption
from app.cli.printing import print_facts

app = typer.Typer()


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
    from app.cli.queue import follow_jobs, job_facts

    with opened(data) as hub:
        if wait or watch:
            with suppress(KeyboardInterrupt):
                follow_jobs(hub, show=watch, until_done=wait)
        facts = job_facts(hub)
    print_facts(facts, as_json)
    if facts["failed"]:
        raise typer.Exit(1)
