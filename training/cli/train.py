"""Train what a file asks for: LoRA jobs together over one base, or a whole model; resumes."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers.utils.logging import disable_progress_bar

from client.errors import ClientError
from client.local import default_cache_dir
from training.data.dataset import UnusableTokenizer
from training.data.errors import BadData
from training.jobs.checkpoint import NoRoom
from training.jobs.limits import TooLittleMemory
from training.jobs.origin import BadBase
from training.jobs.publish import NotPublished
from training.jobs.spec import BadSpec, read_spec
from training.jobs.stopping import Interrupted, asked_to_stop
from training.jobs.track import OtherRun, Status, Track
from training.jobs.training import Result, Training
from training.jobs.workshop import Place
from training.lora.adapter import NoSuchLayer
from training.lora.attention import UnpackableModel

REFUSALS = (
    BadBase,
    BadData,
    BadSpec,
    ClientError,
    NoRoom,
    NoSuchLayer,
    NotPublished,
    OSError,
    OtherRun,
    TooLittleMemory,
    UnpackableModel,
    UnusableTokenizer,
)
TOLD_EVERY = 20
"""Steps between two lines where there is no terminal to draw on."""


def train(
    file: Annotated[Path, typer.Argument(help="A training file; docs/training has examples.")],
    hub: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="The hub's address.")
    ] = "http://127.0.0.1:8000",
    token: Annotated[str | None, typer.Option(envvar="HF_TOKEN", help="Access token.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where bases and tokens are kept. Default: ~/.cache/clade.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the CPU. Default: torch's own.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read file, base and data, tell of them, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Train what a file asks for; the same command goes on where it was interrupted."""
    disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        spec = read_spec(file)
        training = Training(spec, Place(hub, token, cache or default_cache_dir()))
        if check:
            _tell_data(training.tracks, as_json=as_json)
            return
        with asked_to_stop() as is_stopping, _Shown(training.tracks) as shown:
            results = training.run(shown.step, shown.finished, is_stopping)
    except REFUSALS as error:
        sys.stderr.write(f"clade: {error}\n")
        raise typer.Exit(1) from error
    except (Interrupted, KeyboardInterrupt) as interrupt:
        sys.stderr.write("clade: interrupted; the same command goes on from here\n")
        raise typer.Exit(130) from interrupt
    if as_json:
        sys.stdout.write(json.dumps([result.facts for result in results], indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{summary(result)}\n" for result in results)
    if any(result.status is Status.FAILED for result in results):
        raise typer.Exit(1)


def summary(result: Result) -> str:
    """What became of a job, in one line."""
    parts = [f"{result.name}: {result.status.value} after {result.steps} steps"]
    if result.why:
        parts.append(result.why if result.status is Status.FAILED else f"stopped: {result.why}")
    if result.loss is not None:
        parts.append(f"loss {result.loss:.4f}")
    if result.valid_loss is not None:
        parts.append(f"validation {result.valid_loss:.4f}")
    parts += [f"{form} in {directory}" for form, directory in result.directories.items()]
    parts += [f"published and verified: {each}" for each in result.published]
    return ", ".join(parts)


def _tell_data(tracks: Sequence[Track], *, as_json: bool) -> None:
    for track in tracks:
        facts = track.data.facts
        told = {
            "job": track.spec.name,
            "form": facts.form,
            "examples": facts.examples,
            "tokens": facts.tokens,
            "learnt": facts.targets,
            "longest": facts.longest,
            "truncated": facts.truncated,
            "steps": track.total_steps,
        }
        line = json.dumps(told) if as_json else ", ".join(f"{k} {v}" for k, v in told.items())
        sys.stdout.write(line + "\n")


class _Shown:
    """Progress on a terminal as bars with live losses, elsewhere as lines; all on stderr."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {
            track.spec.name: self._bars.add_task(track.spec.name, total=track.total_steps, told="")
            for track in tracks
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bars.stop()

    def step(self, track: Track) -> None:
        """A job took a step."""
        loss = track.curve.last_loss
        told = f"loss {loss:.4f}" if loss is not None else ""
        if track.curve.last_valid_loss is not None:
            told += f" valid {track.curve.last_valid_loss:.4f}"
        name = track.spec.name
        self._bars.update(self._tasks[name], completed=track.num_steps, told=told)
        is_told = track.num_steps % TOLD_EVERY == 0 or track.is_over
        if not self._console.is_terminal and is_told:
            sys.stderr.write(f"{name}: step {track.num_steps}/{track.total_steps} {told}\n")

    def finished(self, result: Result) -> None:
        """A job was exported."""
        self._bars.update(self._tasks[result.name], told=result.status.value)
