"""From a model's name and a few numbers to a service: what ``clade infer`` puts together."""

import logging
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from serving.api.service import Served, Service
from serving.api.text import Prompts
from serving.engine.attention import UnservableModel
from serving.engine.engine import Engine
from serving.engine.kept import KeptLatency
from serving.engine.profile import fitted, measure
from serving.engine.runner import Runner
from serving.sched.engine import Limits
from serving.sched.latency import FittedLatency
from serving.sched.length import Learned
from serving.sched.named import create_policy
from serving.sched.refit import Refit
from serving.weights.hub_models import HubModels
from serving.weights.model import read_around

log = logging.getLogger(__name__)

CPU_KV_NBYTES = 2 << 30
KV_SHARE = 0.85
"""Of the GPU memory that weights leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says. ``kv_nbytes`` None: 2 GiB on a CPU, most of what a GPU has left.

    ``policy``: a name of ``serving.sched.named``. ``profile``: measure although it is known.
    """

    revision: str = "main"
    device: str = "cpu"
    dtype: torch.dtype | None = None
    policy: str = "scorpio-plus"
    profile: bool = False
    name: str | None = None
    api_key: str | None = None
    chat_template: str | None = None
    kv_nbytes: int | None = None
    block_size: int = 16
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 512
    max_num_waiting: int = 1024
    cache: Path


def assemble(model: str, options: Options, hub: HubModels | None) -> Service:
    """A service over a model of the hub, or of a directory if ``hub`` is None.

    Raises ClientError, BadCheckpoint, UnservableModel, UnknownPolicy, NeedsOracle.
    """
    live = None
    if hub is None:
        around = read_around(Path(model))
        built, root = _from_directory(model, options), str(Path(model).resolve())
    else:
        built, around, live, moved = hub.load(
            model, options.revision, dtype=options.dtype, device=options.device
        )
        root = moved.root
        log.info("loaded %s", asdict(moved))
    limits = Limits(
        max_num_seqs=options.max_num_seqs,
        max_num_batched_tokens=max(options.max_num_batched_tokens, options.max_num_seqs),
        block_size=options.block_size,
        prefix_cache=True,
        max_num_waiting=options.max_num_waiting,
    )
    runner = Runner(built, kv_nbytes=_kv_nbytes(options), block_size=options.block_size)
    latency = latency_of(runner, limits, options)
    prompts = Prompts(around.tokenizer, options.chat_template, model)
    prompts.warm_up()
    engine = Engine(
        runner,
        create_policy(options.policy, limits, latency),
        clock=time.monotonic,
        ends=around.ends,
        decoder=prompts.decoder(),
        draw_seed=lambda: secrets.randbits(63),
        lengths=Learned(),
        observe=Refit(latency).observe,
    )
    served = Served(
        name=options.name or model,
        root=root,
        prompts=prompts,
        most_requests=options.max_num_seqs + options.max_num_waiting,
        api_key=options.api_key,
        sampling_defaults=around.defaults,
        keeps_name=options.name is not None,
    )
    return Service(engine, served, hub=hub, live=live)


def latency_of(runner: Runner, limits: Limits, options: Options) -> FittedLatency:
    """How long steps take here, as measured once on this machine for models of this shape."""
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    config = runner.model.config.to_dict()
    config.pop("_name_or_path", None)
    facts = [
        *(config, str(runner.model.dtype), device, torch.get_num_threads(), asdict(limits)),
        runner.pool.num_blocks,
    ]
    kept = KeptLatency(options.cache, facts)
    if not options.profile and (known := kept.read()) is not None:
        return known
    latency, told = fitted(measure(runner, limits, repeats=5 if options.profile else 2))
    log.info("profiled: %s, %s", asdict(latency), asdict(told))
    kept.write(latency)
    return latency


def _from_directory(directory: str, options: Options) -> PreTrainedModel:
    try:
        model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=options.dtype or "auto", use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UnservableModel(f"{directory}: {error}") from error
    torch.nn.Module.to(model, torch.device(options.device))
    return model.eval().requires_grad_(requires_grad=False)


def _kv_nbytes(options: Options) -> int:
    if options.kv_nbytes is not None:
        return options.kv_nbytes
    if options.device == "cuda":
        return int(torch.cuda.mem_get_info()[0] * KV_SHARE)
    return CPU_KV_NBYTES
