"""Throughput of the engine on a CPU beside transformers' continuous batching and vLLM.

    make .venv-vllm/.ready   # vLLM for CPUs, in an environment of its own
    python -m bench.engine [--hidden 256] [--layers 6] [--rounds 3] [--no-vllm]

All run the same small random Llama and the same prompts greedily, in turns, without finding
prefixes; what counts is the ratio, in CPU seconds of the process that computes. Answers are
compared: a faster engine that says something else is no engine. Then the same requests under every
policy, counted in steps.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from bench.report import interleaved, median, median_ratio, print_table
from bench.vllm_peer import vllm_peer
from serving.engine.engine import Engine
from serving.engine.output import TokenOutput
from serving.engine.params import SamplingParams
from serving.engine.runner import Runner
from serving.engine.sequence import Request
from serving.sched.engine import Limits
from serving.sched.latency import FittedLatency
from serving.sched.named import create_policy

BLOCK_SIZE = 16
VOCABULARY = 2048
OURS = "fcfs-chunked"
STEP_TOKENS = 512
POLICIES = ("fcfs", "fcfs-chunked", "sjf", "edf", "scorpio", "scorpio-plus")
STEP_S = 0.01
"""What a step takes on the clock of the runs that are counted in steps."""

Answers = list[list[int]]
Timed = tuple[float, float, Answers]
"""CPU seconds, wall seconds, and what was said."""


def small_llama(hidden: int, layers: int) -> PreTrainedModel:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=2048,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def prompts_of(count: int) -> list[list[int]]:
    """Of 16 to 256 tokens, log-uniform."""
    draw = torch.Generator().manual_seed(0)
    lengths = (16 * 16 ** torch.rand(count, generator=draw)).long().tolist()
    return [torch.randint(3, VOCABULARY, (n,), generator=draw).tolist() for n in lengths]


def timed(run: Callable[[], Answers]) -> Timed:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    answers = run()
    return time.process_time() - cpu_s, time.perf_counter() - wall_s, answers


def engine_of(runner: Runner, policy: str, batch: int) -> Engine:
    """Its clock counts steps."""
    limits = Limits(max_num_seqs=batch, max_num_batched_tokens=STEP_TOKENS, block_size=BLOCK_SIZE)
    flat = FittedLatency(a=0, b=0, c=0, d=STEP_S, theta=512, phi=STEP_S, alpha=STEP_S, beta=0)
    engine = Engine(
        runner,
        create_policy(policy, limits, flat),
        clock=lambda: engine.num_steps * STEP_S,
        draw_seed=lambda: 0,
    )
    return engine


def ours(engine: Engine, prompts: Sequence[Sequence[int]], length: int) -> Answers:
    params = SamplingParams(temperature=0, max_tokens=length, ignore_eos=True)
    for number, prompt in enumerate(prompts):
        engine.add(
            Request(
                request_id=str(number),
                prompt=tuple(prompt),
                params=params,
                arrival_s=engine.clock(),
            )
        )
    answers: Answers = [[] for _ in prompts]
    while not engine.is_idle:
        for event in engine.step():
            assert isinstance(event, TokenOutput), event
            answers[int(event.request_id)].append(event.token)
    return answers


def theirs(model: PreTrainedModel, prompts: list[list[int]], length: int, batch: int) -> Answers:
    pages = sum(-(-(len(prompt) + length) // BLOCK_SIZE) for prompt in prompts)
    done = model.generate_batch(
        prompts,
        generation_config=GenerationConfig(
            max_new_tokens=length, do_sample=False, eos_token_id=-1, pad_token_id=0
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=BLOCK_SIZE,
            num_blocks=pages + 8,
            max_batch_tokens=STEP_TOKENS,
            max_requests_per_batch=batch,
            allow_block_sharing=False,
        ),
        warmup=False,
    )
    return [done[f"req_{number}"].generated_tokens for number in range(len(prompts))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-vllm", action="store_true", help="where it is not installed")
    parser.add_argument("--eager", action="store_true", help="vLLM without compiling")
    parser.add_argument("--quick", action="store_true", help="fewer requests, shorter, once")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.tokens, options.rounds = 8, 16, 1
    torch.set_num_threads(options.threads)
    prompts = prompts_of(options.requests)
    length, batch = options.tokens, options.batch
    model = small_llama(options.hidden, options.layers)
    peer = small_llama(options.hidden, options.layers)
    runner = Runner(model, num_blocks=batch * 24, block_size=BLOCK_SIZE)
    contenders: dict[str, Callable[[], Timed]] = {
        "ours": lambda: timed(lambda: ours(engine_of(runner, OURS, batch), prompts, length)),
        "transformers": lambda: timed(lambda: theirs(peer, prompts, length, batch)),
    }
    with ExitStack() as held:
        if not options.no_vllm:
            vllm = held.enter_context(
                vllm_peer(
                    peer,
                    options.threads,
                    max_num_seqs=batch,
                    max_num_batched_tokens=STEP_TOKENS,
                    max_model_len=512,
                    enable_prefix_caching=False,
                    enforce_eager=options.eager,
                )
            )
            vllm.ask(prompts, length)
            contenders["vllm"] = lambda: vllm.ask(prompts, length)
        contenders["ours"]()
        runs = interleaved(options.rounds, contenders)
    expected = runs["transformers"][0][2]
    assert runs["ours"][0][2] == expected, "ours and transformers say different things"
    tokens = options.requests * length
    print_table(
        f"{options.requests} requests, {tokens} tokens, hidden {options.hidden}, "
        f"{options.layers} layers, batch {batch}, {options.threads} thread(s), fp32",
        ["engine", "CPU s", "wall s", "tokens/CPU s", "ours / it, CPU", "wall", "same answers"],
        [
            [
                name,
                f"{median(each[0] for each in timings):.2f}",
                f"{median(each[1] for each in timings):.2f}",
                f"{tokens / median(each[0] for each in timings):.0f}",
                *_ratios(timings, runs["ours"]),
                str(sum(a == b for a, b in zip(timings[0][2], expected, strict=True))),
            ]
            for name, timings in runs.items()
        ],
    )
    by_policy(runner, prompts, length, batch, expected)


def _ratios(peer: list[Timed], mine: list[Timed]) -> tuple[str, str]:
    """How much faster ours is, by CPU and by wall seconds, round by round."""
    cpu = median_ratio([each[0] for each in peer], [each[0] for each in mine])
    wall = median_ratio([each[1] for each in peer], [each[1] for each in mine])
    return f"{cpu:.2f}", f"{wall:.2f}"


def by_policy(
    runner: Runner, prompts: list[list[int]], length: int, batch: int, expected: Answers
) -> None:
    rows = []
    for policy in POLICIES:
        engine = engine_of(runner, policy, batch)
        same = ours(engine, prompts, length) == expected
        rows.append([policy, str(engine.num_steps), str(engine.num_preemptions), str(same)])
    print_table("counted in steps", ["policy", "steps", "preempted", "same answers"], rows)


if __name__ == "__main__":
    main()
