"""Train the fine-tuning jobs of a hub: a process for each base, until told to stop."""

import logging
import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from client.errors import ClientError
from client.local import default_cache_dir
from client.trainer import TrainerClient
from training.sched.shape import Layout
from training.service.holders import Holders
from training.service.options import Dtype, TrainerOptions
from training.service.supervisor import Supervisor


def trainer(
    hub: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="The hub's address.")
    ] = "http://127.0.0.1:8000",
    token: Annotated[
        str | None, typer.Option(envvar="HF_TOKEN", help="A token of an administrator of the hub.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where bases and tokens are kept. Default: ~/.cache/clade.")
    ] = None,
    bases: Annotated[int, typer.Option(min=1, help="Trained on at a time, a process each.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "cpu",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    layout: Annotated[Layout, typer.Option(help="Of batches.")] = Layout.PACKED,
    memory_gb: Annotated[
        float | None, typer.Option(help="Of a process: base, adapters and batches.")
    ] = None,
    most_jobs: Annotated[int, typer.Option(min=1, help="That take a step together.")] = 8,
    most_tokens: Annotated[int, typer.Option(min=1, help="Of such a step.")] = 4096,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the CPU, for a process.")] = None,
    idle: Annotated[float, typer.Option(help="Seconds that a base is kept without a job.")] = 60.0,
    base: Annotated[str | None, typer.Option(hidden=True)] = None,
    commit: Annotated[str, typer.Option(hidden=True)] = "",
    full: Annotated[bool, typer.Option("--full", hidden=True)] = False,
    kept: Annotated[bool, typer.Option("--kept", hidden=True)] = False,
) -> None:
    """Train the fine-tuning jobs of a hub; SIGTERM saves them and leaves them to the next one."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s trainer[%(process)d] %(message)s")
    stopping = _asked_to_stop()
    if kept:
        token = sys.stdin.readline().strip()
        threading.Thread(target=_follow_parent, args=[stopping], daemon=True).start()
    if not token:
        _refuse("a trainer needs an administrator's token: --token, or HF_TOKEN")
    if find_spec("torch") is None:
        _refuse("training needs torch, which is not installed here: pip install 'clade[train]'")
    options = TrainerOptions(
        hub=hub,
        cache=cache or default_cache_dir(),
        bases=bases,
        device=device,
        dtype=_dtype(dtype),
        layout=layout,
        memory_gb=memory_gb,
        most_jobs=most_jobs,
        most_tokens=most_tokens,
        threads=threads,
        idle_s=idle,
    )
    holders = Holders(options.cache, hub)
    try:
        with TrainerClient(hub, token) as client, holders.named() as holder:
            if base is None:
                Supervisor(client, options, token, holder, leaves=kept).run(stopping.wait)
            else:
                _train(client, options, base, commit, holder, full=full, stopping=stopping)
    except ClientError as error:
        _refuse(str(error))


def _train(
    client: TrainerClient,
    options: TrainerOptions,
    base: str,
    commit: str,
    holder: str,
    *,
    full: bool,
    stopping: threading.Event,
) -> None:
    """What a child does."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    from training.service.one_base import BaseTrainer

    disable_progress_bar()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    one = BaseTrainer(client, options, base, commit, holder)
    (one.run_full if full else one.run_together)(stopping.is_set)


def _asked_to_stop() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _follow_parent(stopping: threading.Event) -> None:
    """Whoever keeps us holds the other end of standard input, and is gone when that ends.

    Read without Python's buffer: its lock would be held when this process ends by itself, which
    aborts it.
    """
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stopping.set()


def _dtype(text: str) -> Dtype:
    if text not in {"auto", "float32", "bfloat16", "float16"}:
        _refuse(f"--dtype is auto, float32, bfloat16 or float16, not {text}")
    return text  # pyright: ignore[reportReturnType]


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"clade: {message}\n")
    raise typer.Exit(1)


def main() -> None:
    """What a supervisor starts."""
    typer.run(trainer)
