"""Memory of batches as it is foretold, beside what they take; and mixes of jobs under a hard limit.

What a batch takes is counted tensor by tensor, and in the second part whoever goes beyond the
budget gets no memory, as on a device: training.lora.footprint.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from bench.report import print_table
from training.data.sample import Sample
from training.lora.adapter import new_adapter
from training.lora.footprint import PeakBytes
from training.lora.job import LoraJob
from training.lora.options import LoraOptions
from training.lora.trainer import FusedTrainer
from training.sched.memory import FEW, MemoryModel
from training.sched.policy import create_policy
from training.sched.room import Room, held_nbytes
from training.sched.shape import BatchShape, Layout, SequenceShape
from training.schedule import Schedule

JOBS = 5
CHOSEN_BY, HELD_OUT = (3,), tuple(range(1000, 1008))
"""Seeds of fleets: one that the model's features were chosen on, and others."""
MUST = 0.03
Base = Callable[[], PreTrainedModel]
POLICIES = {Layout.PADDED: "minpad", Layout.PACKED: "packed"}


class Log(MemoryModel):
    """A model of memory that wants to see everything and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[BatchShape, int]] = []

    def wants(self, shape: BatchShape) -> bool:
        return True

    def observe(self, shape: BatchShape, nbytes: int) -> None:
        self.seen.append((shape, nbytes))
        super().observe(shape, nbytes)


class Passes(MemoryModel):
    """Counts the batches that are tried."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def wants(self, shape: BatchShape) -> bool:
        self.count += 1
        return super().wants(shape)


class Queued:
    """A job of the trainer as a policy sees it."""

    def __init__(self, job: LoraJob) -> None:
        self.job = job
        self.name, self.static_nbytes = job.name, job.static_nbytes
        self.priority, self.arrived_s, self.tokens_left = 0, 0.0, 1.0
        self.has_started = True

    def shapes(self) -> Sequence[SequenceShape]:
        return self.job.shapes()


def fleet(
    model: PreTrainedModel, layout: Layout, seed: int, memory: MemoryModel | None
) -> FusedTrainer:
    """Jobs whose batches differ in number and length of sequences from step to step.

    ``model`` is nobody else's: a trainer changes it for good.
    """
    rng = random.Random(seed)
    vocabulary = model.config.vocab_size
    fused = FusedTrainer(model, layout=layout, memory=memory)
    for number in range(JOBS):
        chance = torch.Generator().manual_seed(seed + number)
        samples = []
        for _ in range(40):
            length = rng.randint(4, 90)
            tokens = torch.randint(3, vocabulary, (length,), generator=chance)
            samples.append(Sample(tokens, torch.arange(length) >= rng.randint(1, length - 1)))
        options = LoraOptions(r=rng.randint(1, 8), dropout=rng.choice((0.0, 0.1)))
        fused.join(
            LoraJob(
                f"job{number}",
                new_adapter(fused.base.model, options, seed=number),
                samples,
                Schedule(1e-3, 10_000),
                batch_size=rng.randint(1, 4),
            )
        )
    return fused


def errors_of(base: Base, layout: Layout, seed: int, *, unseen: int = 50) -> list[float]:
    """As shares, of batches that came after the first ones, from which all was learnt."""
    log, rng = Log(), random.Random(seed + 2)
    fused = fleet(base(), layout, seed, log)
    while len(log.seen) < FEW + unseen:
        fused.step(sorted(rng.sample(list(fused.jobs), rng.randint(1, JOBS))))
    learnt = MemoryModel()
    for shape, nbytes in log.seen[:FEW]:
        learnt.observe(shape, nbytes)
    return [abs(learnt.predict(shape) - nbytes) / nbytes for shape, nbytes in log.seen[FEW:]]


@dataclass(slots=True)
class Mixes:
    """``together``: jobs that stepped, by mix. ``divided``: mixes done in parts, as foretold.

    ``out_of_memory``: mixes in which the limit refused an allocation. ``used``: the largest share
    of its budget that a mix took.
    """

    together: list[int]
    divided: int
    out_of_memory: int
    used: float


def fuzz(base: Base, layout: Layout, mixes: int, seed: int = 7) -> Mixes:
    """Jobs that come and go, at budgets that let one to five of them step together."""
    memory, rng = Passes(), random.Random(seed)
    fused = fleet(base(), layout, seed, memory)
    fused.spare_nbytes = 0  # so all are done one sequence at a time
    single = max(step_within(fused, [name]).nbytes for name in list(fused.jobs) * 8)
    found = Mixes([], 0, 0, 0.0)
    for _ in range(mixes):
        queued = [Queued(fused.jobs[n]) for n in rng.sample(list(fused.jobs), rng.randint(1, JOBS))]
        static = held_nbytes(queued, queued)
        spare = round(single * rng.uniform(1.2, 8))
        room = Room(layout=layout, most_tokens=10**6, nbytes=static + spare, memory=memory)
        chosen = create_policy(POLICIES[layout]).choose(queued, room, 0.0)
        before, fused.spare_nbytes = memory.count, spare
        peak = step_within(fused, [each.name for each in chosen], spare)
        found.together.append(len(chosen))
        found.divided += memory.count > before + 1
        found.out_of_memory += peak.refused > 0
        found.used = max(found.used, peak.nbytes / spare)
    return found


def step_within(
    fused: FusedTrainer, names: list[str], limit_nbytes: int | None = None
) -> PeakBytes:
    """A step, and what it took."""
    with PeakBytes(limit_nbytes) as peak:
        fused.step(names)
    return peak


def foretold(base: Base, mixes: int) -> None:
    """Both tables."""
    rows, drawn = [], []
    for layout in Layout:
        for draw, seeds in (("chosen by", CHOSEN_BY), ("held out", HELD_OUT)):
            fleets = [errors_of(base, layout, seed) for seed in seeds]
            means = [sum(errors) / len(errors) for errors in fleets]
            mean = sum(means) / len(means)
            told = "" if mean <= MUST else f"misses {MUST}"
            rows.append(
                [draw, layout.value, len(fleets), f"{mean:.3f}", f"{max(means):.3f}",
                 f"{max(map(max, fleets)):.3f}", told]
            )  # fmt: skip
        found = fuzz(base, layout, mixes // len(Layout))
        shares = [f"{found.together.count(n)}" for n in range(1, JOBS + 1)]
        drawn.append(
            [layout.value, len(found.together), *shares, found.divided, f"{found.used:.3f}",
             found.out_of_memory]
        )  # fmt: skip
    print_table(
        f"memory foretold for 50 unseen shapes of each fleet after {FEW}, error as a share of what "
        "they took",
        ["", "layout", "fleets", f"mean (must {MUST})", "worst fleet", "worst batch", ""],
        rows,
    )
    print_table(
        "mixes of jobs at random budgets, which no allocation may go beyond",
        [
            "layout",
            "mixes",
            "of 1 job",
            "2",
            "3",
            "4",
            "5",
            "divided",
            "most used",
            "out of memory",
        ],
        drawn,
        "divided: done in parts since the whole was foretold not to fit; most used: of a budget",
    )
