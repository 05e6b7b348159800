"""Serve a model of the hub on OpenAI's API: /v1/completions, /v1/chat/completions, /metrics."""

import logging
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
import uvicorn

from client.errors import ClientError
from client.local import default_cache_dir
from serving.api.app import create_app
from serving.cli.assemble import Options, assemble
from serving.engine.attention import UnservableModel
from serving.engine.lora import BadAdapter
from serving.weights.header import BadCheckpoint
from serving.weights.hub_models import HubModels

DTYPES = {
    "auto": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
REFUSALS = (BadAdapter, BadCheckpoint, ClientError, UnservableModel, ValueError)
GRACE_S = 30
"""For answers that are under way when the server is stopped."""
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def infer(
    model: Annotated[str, typer.Argument(help="owner/name on the hub, or a directory.")],
    hub: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="The hub's address.")
    ] = "http://127.0.0.1:8000",
    token: Annotated[str | None, typer.Option(envvar="HF_TOKEN", help="Access token.")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where it runs.")] = "cpu",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="auto: as the model says."),
    ] = "auto",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8001,
    policy: Annotated[
        str, typer.Option(help="Scheduling policy, by its name; see docs/serving.")
    ] = "scorpio-plus",
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure anew how long steps take here.")
    ] = False,
    served_model_name: Annotated[
        str | None, typer.Option(help="Name in requests. Default: the model's.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="CLADE_API_KEY", help="Asked of every client.")
    ] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="A file with a Jinja template, instead of the model's.")
    ] = None,
    kv_memory: Annotated[
        str | None, typer.Option(help="For the KV pool, like 2G. Default: 2G; on a GPU the rest.")
    ] = None,
    block_size: Annotated[int, typer.Option(min=1, help="Tokens of a KV block.")] = 16,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Answers at once.")] = 64,
    max_num_batched_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a step.")] = 512,
    max_num_waiting: Annotated[
        int, typer.Option(min=0, help="Beyond so many waiting requests, new ones are refused.")
    ] = 1024,
    lora: Annotated[
        list[str] | None, typer.Option(help="name=owner/adapter[@revision], once for each.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where encoded tensors are kept. Default: ~/.cache/clade.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the CPU. Default: torch's own.")
    ] = None,
) -> None:
    """Serve a model of the hub (or of a directory) on OpenAI's API."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if threads is not None:
        torch.set_num_threads(threads)
    kept = cache or default_cache_dir()
    try:
        options = Options(
            revision=revision,
            device=device,
            dtype=DTYPES[dtype],
            policy=policy,
            profile=profile,
            name=served_model_name,
            api_key=api_key,
            chat_template=chat_template.read_text() if chat_template else None,
            kv_nbytes=nbytes_of(kv_memory) if kv_memory else None,
            block_size=block_size,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_waiting=max_num_waiting,
            cache=kept,
        )
        _serve(model, options, hub=hub, token=token, lora=lora or (), host=host, port=port)
    except REFUSALS as error:
        sys.stderr.write(f"clade: {error}\n")
        raise typer.Exit(1) from error


def _serve(
    model: str,
    options: Options,
    *,
    hub: str,
    token: str | None,
    lora: Sequence[str],
    host: str,
    port: int,
) -> None:
    is_directory = Path(model).is_dir()
    with ExitStack() as stack:
        models = None
        if lora or not is_directory:
            models = stack.enter_context(HubModels(hub, token=token, cache=options.cache))
        service = assemble(model, options, None if is_directory else models)
        for each in lora:
            name, _, path = each.partition("=")
            repo, _, revision = path.partition("@")
            assert models is not None
            service.add_adapter(name, models.adapter(repo, revision or "main"))
        uvicorn.run(
            create_app(service),
            host=host,
            port=port,
            log_level="info",
            timeout_graceful_shutdown=GRACE_S,
        )


def nbytes_of(text: str) -> int:
    """``512M``, ``2G``, ``1.5GiB`` as bytes. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no amount of memory; write 512M or 2G")
    return int(float(found[1]) * _UNITS[found[2]])
