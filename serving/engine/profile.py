"""How long steps take on this machine: measured by running them, for policies to foretell."""

import time
from collections.abc import Callable, Iterator

from serving.engine.blocks import BlockPool
from serving.engine.params import SamplingParams
from serving.engine.runner import Runner
from serving.engine.sequence import Request, Sequence
from serving.engine.step import Part
from serving.sched.engine import Limits
from serving.sched.fit import Quality, StepSample, fit_latency, quality
from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape

DECODES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS = (16, 64, 256, 1024, 4096)
PROMPTS = (16, 32, 64, 128, 256, 512, 1024, 2048)
BEHIND = ((64, 256), (128, 512), (256, 1024))
"""Chunks of so many tokens behind so many computed ones."""
BESIDE = ((2, 16), (8, 32), (8, 64), (8, 256), (32, 64), (32, 256), (128, 256), (128, 1024))
"""So many decodes and, in the same step, so many tokens of a prompt."""
BESIDE_CONTEXT = 64

Work = tuple[int, int]
"""Tokens to compute, and computed ones before them."""


def measure(
    runner: Runner,
    limits: Limits,
    *,
    repeats: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> list[StepSample]:
    """Samples of all shapes that fit into the pool, the context and a step of this engine.

    The first run of each shape is not counted. Writes into the pool: nothing may be served yet.
    """
    samples: list[StepSample] = []
    for works in _batches(runner, limits):
        parts, shape = _parts(works, runner)
        for repeat in range(repeats + 1):
            start_s = clock()
            runner.run(parts)
            if repeat:
                samples.append(StepSample(shape, clock() - start_s))
    return samples


def fitted(samples: list[StepSample]) -> tuple[FittedLatency, Quality]:
    """The model, and how well it tells what it was fitted on. Raises TooFewSamples."""
    latency = fit_latency(samples)
    return latency, quality(latency, samples)


def shape_of(parts: list[Part]) -> StepShape:
    """What a step is about to compute, summed up."""
    shape = StepShape()
    for sequence, count in parts:
        shape.add(sequence, count)
    return shape


def _batches(runner: Runner, limits: Limits) -> Iterator[list[Work]]:
    room = runner.pool.num_blocks * runner.pool.block_size
    longest = min(runner.longest_context, room)
    for count in DECODES:
        for context in CONTEXTS:
            blocks = count * limits.blocks_for(context)
            fits = count <= limits.max_num_seqs and blocks <= runner.pool.num_blocks
            if fits and context <= longest:
                yield [(1, context - 1)] * count
    largest = min(longest, limits.max_num_batched_tokens)
    eighths = {largest * part // 8 for part in range(1, 9)} - {0}
    for count in sorted(eighths | {count for count in PROMPTS if count <= largest}):
        yield [(count, 0)]
    for count, behind in BEHIND:
        if count + behind <= longest and count <= limits.max_num_batched_tokens:
            yield [(count, behind)]
    for decodes, count in BESIDE:
        blocks = decodes * limits.blocks_for(BESIDE_CONTEXT) + limits.blocks_for(count)
        fits = decodes < limits.max_num_seqs and blocks <= runner.pool.num_blocks
        within = max(count, BESIDE_CONTEXT) <= longest
        if fits and within and decodes + count <= limits.max_num_batched_tokens:
            yield [*[(1, BESIDE_CONTEXT - 1)] * decodes, (count, 0)]


def _parts(works: list[Work], runner: Runner) -> tuple[list[Part], StepShape]:
    pool = BlockPool(runner.pool.num_blocks)
    parts: list[Part] = []
    for number, (count, computed) in enumerate(works):
        # A decode's pending token is one that was generated.
        prompt = computed + count - (1 if count == 1 and computed else 0)
        request = Request(
            request_id=str(number),
            prompt=(1,) * prompt,
            params=SamplingParams(temperature=0),
            arrival_s=0,
        )
        sequence = Sequence(
            request, pool=pool, block_size=runner.pool.block_size, salt=request.request_id.encode()
        )  # equal tokens, and still nothing that they could share
        sequence.tokens += [1] * (computed + count - prompt)
        sequence.admit()
        sequence.reserve(computed + count)
        sequence.advance(computed)
        parts.append((sequence, count))
    return parts, shape_of(parts)
