"""Throughput of the engine on a CPU beside transformers' continuous batching, same requests.

Both run the same small random Llama and the same prompts greedily, in turns in one process; what
counts is the ratio, in CPU seconds of the process. Answers are compared: a faster engine that says
something else is no engine. Then the same requests under every policy, counted in steps.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from bench.report import interleaved, median, print_table, ratio
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
    limits = Limits(max_num_seqs=batch, max_num_batched_tokens=512, block_size=BLOCK_SIZE)
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
            max_batch_tokens=512,
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
    parser.add_argument("--quick", action="store_true", help="fewer requests, shorter, once")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.tokens, options.rounds = 8, 16, 1
    torch.set_num_threads(options.threads)
    prompts = prompts_of(options.requests)
    model = small_llama(options.hidden, options.layers)
    peer = small_llama(options.hidden, options.layers)
    runner = Runner(model, num_blocks=options.batch * 24, block_size=BLOCK_SIZE)

    runs = interleaved(
        options.rounds,
        {
            "ours": lambda: timed(
                lambda: ours(
                    engine_of(runner, "fcfs-chunked", options.batch), prompts, options.tokens
                )
            ),
            "transformers": lambda: timed(
                lambda: theirs(peer, prompts, options.tokens, options.batch)
            ),
        },
    )
    assert runs["ours"][0][2] == runs["transformers"][0][2], "they say different things"
    tokens = options.requests * options.tokens
    base = median(cpu_s for cpu_s, _, _ in runs["transformers"])
    print_table(
        f"{options.requests} requests, {tokens} tokens, hidden {options.hidden}, "
        f"{options.layers} layers, batch {options.batch}, {options.threads} thread(s), fp32",
        ["engine", "CPU s", "wall s", "tokens/CPU s", "ratio"],
        [
            [
                name,
                f"{median(each[0] for each in timings):.2f}",
                f"{median(each[1] for each in timings):.2f}",
                f"{tokens / median(each[0] for each in timings):.0f}",
                ratio(base, median(each[0] for each in timings)),
            ]
            for name, timings in runs.items()
        ],
    )
    by_policy(runner, prompts, options.tokens, options.batch, runs["ours"][0][2])


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
