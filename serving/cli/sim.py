"""Replay request traces on a simulated engine and see which policy meets more objectives."""

import json
import sys
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from serving.cli.chart import draw
from serving.cli.sweep import Row, sweep
from serving.cli.table import Cell, cells, csv_table, text_table
from serving.cli.traces import BUNDLED, NoSuchTrace, read_trace
from serving.sched.named import POLICIES, UnknownPolicy
from serving.sim.experiment import Predictor, Process, Setting, capacity
from serving.sim.gpus import UnknownHardware
from serving.sim.traces import BadTrace

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.callback()
def simulations() -> None:
    """Replay request traces on a simulated engine and see which policy meets more objectives."""


@app.command()
def slo(
    trace: Annotated[
        str,
        typer.Option(
            help="CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens, or JSON lines with "
            f"timestamp, input_length, output_length; or one of {', '.join(BUNDLED)}."
        ),
    ],
    policy: Annotated[
        list[str] | None, typer.Option(help=f"One or more of {', '.join(POLICIES)}; default: all.")
    ] = None,
    load: Annotated[
        list[float] | None,
        typer.Option(help="Offered requests a second / capacity; one or more. Default: 0.5 1 2."),
    ] = None,
    gpu: Annotated[str, typer.Option(help="a100 or h100.")] = "h100",
    model: Annotated[str, typer.Option(help="Whose step times are simulated.")] = "llama-3-8b",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each policy at each load.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Directory for slo.png and slo.csv; made if missing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as a JSON list.")] = False,
    process: Annotated[
        Process, typer.Option(help="The trace's own times, or generated ones with its lengths.")
    ] = "trace",
    requests: Annotated[
        int | None, typer.Option(min=2, help="How many requests of the trace; default: all.")
    ] = None,
    predictor: Annotated[
        Predictor, typer.Option(help="How output lengths are foretold.")
    ] = "noisy",
    max_batched_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a step.")] = 2048,
    max_seqs: Annotated[int, typer.Option(min=1, help="Requests running at once.")] = 256,
    kv_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of the KV pool; default: what the GPU holds.")
    ] = None,
    prefix_cache: Annotated[
        bool,
        typer.Option(help="Prompts that begin alike by a trace's hash_ids share KV blocks."),
    ] = True,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit latency models again while serving.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; default: one a core, 4 at most.")
    ] = None,
) -> None:
    """Attainment and goodput of policies over load, simulated.

    Load 1 is the simulated engine's capacity for this trace's lengths: what it finishes a second
    when all requests are there at once and nobody has an objective. A trace keeps its bursts: all
    its gaps are scaled alike. Objectives are drawn evenly from SCORPIO's six classes.
    """
    policies = list(dict.fromkeys(policy or POLICIES))
    loads = sorted(set(load or (0.5, 1.0, 2.0)))
    try:
        _check(policies, loads)
        bodies = read_trace(trace)
        setting = Setting(
            gpu=gpu, model=model, process=process, predictor=predictor, count=requests,
            max_num_batched_tokens=max_batched_tokens, max_num_seqs=max_seqs, refit=refit,
            kv_tokens=kv_tokens,
            prefix_cache=prefix_cache and process == "trace" and any(b.prefix for b in bodies),
        )  # fmt: skip
        unit_rate = capacity(setting, bodies)
    except (NoSuchTrace, BadTrace, UnknownPolicy, UnknownHardware, ValueError) as fault:
        raise typer.BadParameter(str(fault)) from fault
    _announce(setting, trace, unit_rate)
    asked = {"policies": policies, "loads": loads, "unit_rate": unit_rate, "seeds": seeds}
    runs = sweep(setting, bodies, **asked, processes=processes)
    rows = _progress(runs, len(policies) * len(loads) * seeds)
    found = cells(rows, policies)
    if out is not None:
        title = f"simulated {gpu} × {model}, {Path(trace).name}, {process} arrivals, {seeds} seeds"
        _write(out, rows, found, title)
    if as_json:
        ordered = [row for cell in found for row in cell.rows]
        print(json.dumps([row.as_dict() | {"capacity": unit_rate} for row in ordered], indent=1))
    else:
        print(text_table(found))


def _announce(setting: Setting, trace: str, unit_rate: float) -> None:
    _say(f"SIMULATED {setting.gpu} × {setting.model}; step times:", *setting.times.notes)
    if setting.kv_tokens:
        _say(f"KV pool: {setting.kv_tokens:,} tokens, as asked for")
    if setting.prefix_cache:
        _say(f"prefixes: shared as the trace names them, in KV blocks of {setting.block_size}")
    _say(f"capacity {unit_rate:.3f} requests/s (load 1): offline throughput on {trace}'s lengths")


def _check(policies: list[str], loads: list[float]) -> None:
    for name in policies:
        if name not in POLICIES:
            raise UnknownPolicy(name)
    if not 0 < loads[0] <= loads[-1] < inf:
        raise ValueError("a load must be a number more than 0")


def _write(out: Path, rows: list[Row], found: list[Cell], title: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "slo.csv").write_text(csv_table(rows), encoding="utf-8")
    draw(found, title, out / "slo.png")
    _say(f"wrote {out / 'slo.csv'} and {out / 'slo.png'}")


def _progress(rows: Iterable[Row], total: int) -> list[Row]:
    done = []
    for row in rows:
        done.append(row)
        if sys.stderr.isatty():
            print(f"\r{len(done)} of {total} runs", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return done


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
