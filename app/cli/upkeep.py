"""`clade stats`, `fsck`, `gc`, `optimise` and `reencode`: look after what a hub stores."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.opening import opened
from app.cli.options import DataOption, JsonOption, WaitOption
from app.cli.printing import print_facts

app = typer.Typer()


@app.command()
def stats(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Logical bytes, stored bytes as the bucket holds them, and what saved the difference."""
    from app.stats import measure

    with opened(data) as hub:
        print_facts(asdict(measure(hub)), as_json)


@app.command()
def fsck(
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read, decode and hash every byte; goes on where it stopped."),
    ] = False,
    mend: Annotated[
        bool, typer.Option("--repair", help="Mend what another copy is left of.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin a deep check anew, if one was stopped.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that everything promised is there. Exit status 1 if anything is wrong."""
    from app.cli.bars import bars
    from app.gc.fsck import fsck as check
    from app.gc.fsck import reload_problems
    from app.gc.repair import repair

    show = deep and not as_json and sys.stderr.isatty()
    with opened(data) as hub, bars(show=show) as progress:
        bar = progress.add_task("reading", total=None)
        report = check(
            hub,
            deep=deep,
            fresh=fresh,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
        done = repair(hub) if mend else None
        if done is not None:
            reload_problems(hub, report)
    facts = asdict(report) | {"clean": report.clean}
    print_facts(facts if done is None else facts | {"repair": asdict(done)}, as_json)
    if not report.clean:
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
    from app.gc.collect import collect

    with opened(data) as hub:
        print_facts(asdict(collect(hub, now=now)), as_json)


@app.command()
def optimise(
    wait: WaitOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose bases anew, code anew and repack until nothing gets smaller, without the budget."""
    from app.cli.queue import follow_jobs
    from app.deltas.optimise import load_progress, owe_optimising

    with opened(data) as hub:
        with hub.db.read() as session:
            before, _ = load_progress(session)
        hub.db.run(lambda session: owe_optimising(session, hub))
        if wait:
            follow_jobs(hub, show=not as_json, until_done=True)
        with hub.db.read() as session:
            after, _ = load_progress(session)
    saved = after.total_saved_nbytes - before.total_saved_nbytes
    print_facts({"queued": not wait, "saved_bytes": saved, "rounds": after.rounds}, as_json)


@app.command()
def reencode(
    wait: WaitOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Code again what an older version stored, where that saves bytes."""
    from app.cli.queue import follow_jobs
    from app.deltas.reencode import outdated, owe_reencoding

    with opened(data) as hub:
        with hub.db.read() as session:
            old = outdated(session)
        facts = asdict(old) | {"queued": bool(old.contents)}
        if old.contents:
            hub.db.run(lambda session: owe_reencoding(session, hub))
        if old.contents and wait:
            follow_jobs(hub, show=not as_json, until_done=True)
            with hub.db.read() as session:
                facts |= {"queued": False, "contents_left": outdated(session).contents}
        print_facts(facts, as_json)
