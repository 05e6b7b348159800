"""Fine-tuning on a GPU: whether it is right there, what fusing gains, what ZenFlow hides, memory.

Without a GPU nothing is measured: it says so and fails. ``--device cpu`` runs every part at tiny
sizes, to see that it runs. Ends with status 1 if a promise is broken.

    python -m bench.train_gpu [--device cuda|cpu] [--only PART…] [--rounds N]
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from transformers import PreTrainedModel

from bench.foretold import JOBS, errors_of, fleet, fuzz
from bench.on_device import VOCABULARY, OnDevice
from bench.report import interleaved, median, print_markdown
from training.data.sample import Sample
from training.lora.adapter import new_adapter
from training.lora.function import FusedLora, Segment
from training.lora.job import LoraJob
from training.lora.options import LoraOptions
from training.lora.trainer import FusedTrainer
from training.optim import ZenFlow, ZenFlowOptions
from training.sched.shape import Layout
from training.schedule import Schedule

PARTS = ("correct", "fused", "full", "memory")
FAR = {torch.float64: 1e-12, torch.float32: 1e-4}
"""The furthest that weights of a job may be from those of the job alone, by the base's type."""
MUST_GAIN, MUST_STALL, MUST_MEMORY, MUST_FORETELL = 2.0, 0.2, 0.4, 0.03


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of models, jobs and batches; ``whole``: of the model that is trained as a whole."""

    small: tuple[int, int]
    base: tuple[int, int]
    whole: tuple[int, int]
    tokens: tuple[int, int]
    jobs: Sequence[int]
    batches: Sequence[int]
    whole_batch: tuple[int, int]
    steps: int
    mixes: int
    unseen: int


GPU = Sizes(
    small=(256, 2),
    base=(2048, 24),
    whole=(2560, 32),
    tokens=(128, 1024),
    jobs=(1, 2, 4, 8, 16),
    batches=(1, 4),
    whole_batch=(8, 1024),
    steps=8,
    mixes=200,
    unseen=50,
)
"""A base of 1.3 and a whole model of 2.7 thousand million numbers."""
TINY = Sizes(
    small=(32, 1),
    base=(32, 1),
    whole=(32, 1),
    tokens=(4, 16),
    jobs=(1, 4),
    batches=(1,),
    whole_batch=(1, 8),
    steps=8,
    mixes=6,
    unseen=4,
)
broken: list[str] = []
"""Promises, as they were found to be."""


def must(is_kept: bool, what: str) -> str:
    """What a table says of it."""
    if not is_kept:
        broken.append(what)
    return "" if is_kept else f"**{what}**"


def job(
    model: PreTrainedModel, number: int, lengths: tuple[int, int], **changed: object
) -> LoraJob:
    """Jobs differ in rank, rate and length: from the shortest to the longest, a scale to each."""
    low, high = lengths
    longest = max(low + 1, high >> (number % 3))
    chance = torch.Generator().manual_seed(number)
    settings = {"batch_size": 1, "dropout": 0.0} | changed
    samples = []
    for length in torch.randint(max(low, longest // 2), longest + 1, (16,), generator=chance):
        tokens = torch.randint(3, VOCABULARY, (int(length),), generator=chance)
        samples.append(Sample(tokens, torch.ones(len(tokens), dtype=torch.bool)))
    options = LoraOptions(r=(8, 4, 16, 2)[number % 4], dropout=float(str(settings["dropout"])))
    return LoraJob(
        f"job{number}",
        new_adapter(model, options, seed=number),
        samples,
        Schedule((1e-3, 3e-3, 1e-4, 1e-3)[number % 4], 10_000, "constant"),
        batch_size=int(str(settings["batch_size"])),
        seed=number,
    )


def stepped(trainer: FusedTrainer, jobs: Sequence[LoraJob], steps: int) -> None:
    """Together."""
    for each in jobs:
        trainer.join(each)
    for _ in range(steps):
        trainer.step()
    for each in jobs:
        if each.name in trainer.jobs:
            trainer.leave(each.name)


def furthest(left: LoraJob, right: LoraJob) -> float:
    pairs = zip(left.adapter.parameters, right.adapter.parameters, strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def correct(on: OnDevice, sizes: Sizes) -> None:
    """Fused is alone; gradients are those of finite differences; a poisoned job harms itself."""
    rows = []
    for dtype, layout, dropout in product(
        (torch.float64, torch.float32, torch.bfloat16), Layout, (0.0, 0.1)
    ):
        trainer = FusedTrainer(on.llama(*sizes.small, dtype), layout=layout)
        make = partial(job, trainer.base.model, lengths=(8, 48), dropout=dropout)
        fused, alone = ([make(number) for number in range(4)] for _ in range(2))
        stepped(trainer, fused, 12)
        for each in alone:
            stepped(trainer, [each], 12)
        far = max(furthest(a, b) for a, b in zip(fused, alone, strict=True))
        sick = make(9)
        with torch.no_grad():
            sick.adapter.parameters[0].fill_(torch.nan)
        beside = [make(number) for number in range(4)]
        stepped(trainer, [*beside, sick], 12)
        spoilt = max(furthest(a, b) for a, b in zip(beside, alone, strict=True))
        most = FAR.get(dtype)
        told = [must(spoilt < float("inf"), "poison spreads")]
        if most is not None:
            told.append(must(max(far, spoilt) <= most, f"must {most:g}"))
        rows.append(
            [str(dtype).removeprefix("torch."), layout.value, dropout, f"{far:.2g}",
             f"{spoilt:.2g}", "; ".join(filter(None, told))]
        )  # fmt: skip
    print_markdown(
        f"fused against alone, 4 jobs, 12 steps, largest difference of a weight ({on.told})",
        ["base", "layout", "dropout", "fused", "beside a job of NaN", ""],
        rows,
    )
    print(
        must(gradients_are_right(on), "backward is wrong") or "backward: finite differences agree"
    )


def gradients_are_right(on: OnDevice) -> bool:
    """By torch's gradcheck, dropout .5, one segment empty."""
    chance = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64).to(on.name)

    kept = (torch.rand(3, 5, generator=chance) >= 0.5).to(on.name)
    segments = [
        Segment(slice(0, 3), 0.5, kept, 0.5),
        Segment(slice(3, 3), 2.0),
        Segment(slice(4, 7), 1.5, kept, 0.5),
    ]
    given, weight, bias = drawn(1, 9, 5), drawn(4, 5), drawn(4)
    sides = [drawn(*shape) for _ in segments for shape in ((2, 5), (4, 2))]
    for tensor in (given, *sides):
        tensor.requires_grad_()

    def run(given: torch.Tensor, *sides: torch.Tensor) -> torch.Tensor:
        return FusedLora.apply(given, weight, bias, segments, *sides)  # type: ignore[no-any-return]

    return bool(torch.autograd.gradcheck(run, (given, *sides), raise_exception=False))


def fused(on: OnDevice, sizes: Sizes, rounds: int) -> None:
    """Tokens a second and peak memory: together, one after the other, a process for each."""
    cases = list(product(sizes.batches, sizes.jobs))
    rates: dict[Layout, list[tuple[float, float]]] = {}
    for layout in Layout:
        trainer = FusedTrainer(on.llama(*sizes.base, torch.bfloat16), layout=layout)
        rates[layout] = [_rates(on, sizes, rounds, trainer, count, batch) for batch, count in cases]
    rows = []
    for (batch, count), padded, packed in zip(cases, *rates.values(), strict=True):
        told = [f"{rate:.0f} ({rate / alone:.2f})" for alone, rate in (padded, packed)]
        rows.append([count, batch, f"{padded[0]:.0f}, {packed[0]:.0f}", *told])
    print_markdown(
        f"real tokens a second, bfloat16, hidden {sizes.base[0]}, {sizes.base[1]} layers, sequences"
        f" of {sizes.tokens[0]} to {sizes.tokens[1]} tokens by job, {rounds} rounds ({on.told})",
        ["jobs", "batch", "alone: padded, packed", "padded", "packed"],
        rows,
    )
    print(
        f"kernels run for {on.busy(partial(_rewound, trainer, jobs_of(trainer, sizes), 2)):.2f} of"
    )
    print("the time of a packed step of 4 jobs of one sequence")
    del trainer
    apart(on, sizes)


def jobs_of(trainer: FusedTrainer, sizes: Sizes, count: int = 4, batch: int = 1) -> list[LoraJob]:
    model = trainer.base.model
    return [job(model, number, sizes.tokens, batch_size=batch) for number in range(count)]


def _rates(
    on: OnDevice, sizes: Sizes, rounds: int, trainer: FusedTrainer, count: int, batch: int
) -> tuple[float, float]:
    """Tokens a second, one job after the other and together."""
    jobs = jobs_of(trainer, sizes, count, batch)

    def alone() -> None:
        for each in jobs:
            _rewound(trainer, [each], sizes.steps)

    def together() -> None:
        _rewound(trainer, jobs, sizes.steps)

    together()
    spent = interleaved(
        rounds, {"alone": lambda: on.seconds(alone), "fused": lambda: on.seconds(together)}
    )
    tokens = _tokens(jobs, sizes.steps)
    return tokens / median(spent["alone"]), tokens / median(spent["fused"])


def _rewound(trainer: FusedTrainer, jobs: Sequence[LoraJob], steps: int) -> None:
    """The same steps again."""
    for each in jobs:
        each.num_steps = 0
    stepped(trainer, jobs, steps)


def _tokens(jobs: Sequence[LoraJob], steps: int) -> int:
    return sum(len(s) for each in jobs for n in range(steps) for s in each.order.batch(n))


def apart(on: OnDevice, sizes: Sizes, count: int = 4) -> None:
    """One process of four jobs against four processes of one, at once."""
    rows, found = [], {}
    for name, processes in (("one process of 4 jobs", [range(count)]),
                            ("4 processes of one job", [[n] for n in range(count)])):  # fmt: skip
        command = [sys.executable, "-m", "bench.train_gpu", "--device", on.name, "--child"]
        children = [
            subprocess.Popen(
                [*command, *map(str, each)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for each in processes
        ]
        for each in children:
            assert each.stdout is not None
            each.stdout.readline()  # warm
        told = []
        for each in children:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        for each in children:
            out, _ = each.communicate()
            told.append([float(word) for word in out.split()])
        tokens, nbytes = sum(each[0] for each in told), sum(each[2] for each in told)
        found[name] = nbytes
        rate = tokens / max(each[1] for each in told)
        rows.append([name, f"{rate:.0f}", f"{nbytes / 1e9:.2f}"])
    one, four = found.values()
    share = one / four
    says = must(share <= MUST_MEMORY or not on.is_gpu, f"must {MUST_MEMORY}")
    rows[0].append(f"{share:.3f} {says}".strip())
    rows[1].append("1")
    print_markdown(
        f"processes ({on.told})",
        ["", "tokens a second", "GB at the peak, all", "/ 4 processes"],
        rows,
    )


def child(on: OnDevice, sizes: Sizes, numbers: Sequence[int]) -> None:
    """Steps of some jobs once told to; prints tokens, seconds, bytes at the peak."""
    trainer = FusedTrainer(on.llama(*sizes.base, torch.bfloat16), layout=Layout.PACKED)
    jobs = jobs_of(trainer, sizes, max(numbers) + 1)[min(numbers) :]
    _rewound(trainer, jobs, 1)
    print("warm", flush=True)
    sys.stdin.readline()
    took_s = on.seconds(partial(_rewound, trainer, jobs, sizes.steps))
    held = 0 if on.is_gpu else sum(p.nbytes for p in trainer.base.model.parameters())
    print(_tokens(jobs, sizes.steps), took_s, held + on.peak_nbytes(
        partial(_rewound, trainer, jobs, 1)))  # fmt: skip


SYNCHRONOUS = {"topk_ratio": 0.0, "update_interval": 1, "select_interval": 1, "overlap_step": False}
OPTIMIZERS: Mapping[str, Mapping[str, object]] = {
    "AdamW on the device": SYNCHRONOUS | {"topk_ratio": 1.0},
    "synchronous offload, the same AdamW": SYNCHRONOUS,
    **{
        f"ZenFlow, S={interval}": {"update_interval": interval, "select_interval": 64}
        for interval in (2, 4, 8, "auto")
    },
}


def full(on: OnDevice, sizes: Sizes) -> None:
    """A step of the whole model by optimizer: time, what the device stands still, bytes, memory."""
    batch, length = sizes.whole_batch
    chance = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, VOCABULARY, (batch, length), generator=chance).to(on.name)
    model = on.llama(*sizes.whole, torch.bfloat16)
    numbers = sum(p.numel() for p in model.parameters())

    def compute() -> None:
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()

    def steps(optimizer: ZenFlow | None, count: int) -> None:
        for _ in range(count):
            compute()
            if optimizer is not None:
                optimizer.step()
            model.zero_grad()

    steps(None, 2)
    least_s = on.seconds(partial(steps, None, sizes.steps)) / sizes.steps
    rows, taken = (
        [["forward and backward alone", f"{least_s * 1e3:.0f}", "", "", "", "", "", ""]],
        {},
    )
    for name, wanted in OPTIMIZERS.items():
        optimizer = ZenFlow(model.parameters(), lr=1e-5, options=ZenFlowOptions(**wanted))  # type: ignore[arg-type]
        steps(optimizer, 16)  # windows are filled, memory is had
        before = optimizer.traffic.to_host_nbytes + optimizer.traffic.to_device_nbytes
        waited_s, count = optimizer.traffic.waited_s, 2 * sizes.steps
        step_s = on.seconds(partial(steps, optimizer, count)) / count
        waited_s = (optimizer.traffic.waited_s - waited_s) / count
        optimizer.drain()
        moved = optimizer.traffic.to_host_nbytes + optimizer.traffic.to_device_nbytes - before
        peak = on.peak_nbytes(partial(steps, optimizer, 1))
        memory = optimizer.memory
        optimizer.close()
        taken[name] = step_s
        stall, gain = (
            1 - least_s / step_s,
            taken.get("synchronous offload, the same AdamW", 0.0) / step_s,
        )
        told = ""
        if name == "ZenFlow, S=4" and on.is_gpu:
            is_kept = gain >= MUST_GAIN and stall <= MUST_STALL
            told = must(is_kept, f"must {MUST_GAIN:g} and {MUST_STALL:g}")
        rows.append(
            [name, f"{step_s * 1e3:.0f} ({stall:.2f})", f"{gain:.2f}" if gain else "",
             f"{waited_s * 1e3:.0f}", f"{moved / count / (2 * numbers):.3f}",
             f"{peak / 1e9:.2f}", f"{memory.host_nbytes / 1e9:.2f}", told]
        )  # fmt: skip
        del optimizer
    print_markdown(
        f"a step of {numbers / 1e9:.2f}e9 bfloat16 numbers, {batch} x {length} tokens,"
        f" k = .1, {os.cpu_count()} cores ({on.told})",
        ["", "ms (device stands still)", "synchronous /", "waited for the host, ms",
         "bytes moved / model", "device GB at the peak", "host GB", ""],
        rows,
    )  # fmt: skip


def memory(on: OnDevice, sizes: Sizes) -> None:
    """Peaks foretold; mixes of jobs under a limit; jobs together where there is room for few."""
    base = partial(on.llama, *sizes.small, torch.float32)
    rows = []
    for layout in Layout:
        errors = [errors_of(base, layout, seed, unseen=sizes.unseen) for seed in (1000, 1001)]
        mean = sum(map(sum, errors)) / sum(map(len, errors))
        found = fuzz(base, layout, sizes.mixes)
        rows.append(
            [layout.value, f"{mean:.3f} {must(mean <= MUST_FORETELL, f'must {MUST_FORETELL}')}",
             f"{allocated(on, base, layout, sizes.unseen):.3f}", len(found.together),
             found.divided, f"{found.out_of_memory} {must(not found.out_of_memory, 'must none')}",
             tight(on, base, layout)]
        )  # fmt: skip
    print_markdown(
        f"memory of batches, foretold as tensors, {JOBS} jobs ({on.told})",
        ["layout", "mean error", "allocator's peak / tensors", "mixes", "in parts", "out of memory",
         "room for one of 5 jobs"],
        rows,
    )  # fmt: skip


def allocated(
    on: OnDevice, base: Callable[[], PreTrainedModel], layout: Layout, steps: int
) -> float:
    """The allocator's peak over that of tensors, mean; on a CPU there is none: 1."""
    if not on.is_gpu:
        return 1.0
    trainer, shares = fleet(base(), layout, 1000, None), []
    for number in range(steps):
        names = sorted(trainer.jobs)[: 1 + number % JOBS]
        states = {name: trainer.jobs[name].num_steps for name in names}
        counted = OnDevice("cpu").peak_nbytes(partial(trainer.step, names))
        for name, before in states.items():
            trainer.jobs[name].num_steps = before
        held = torch.cuda.memory_allocated()
        shares.append((on.peak_nbytes(partial(trainer.step, names)) - held) / counted)
    return sum(shares) / len(shares)


def tight(on: OnDevice, base: Callable[[], PreTrainedModel], layout: Layout) -> str:
    """Five jobs together, nothing foretold, room for the largest alone: who fails, what differs."""
    free, bound = (fleet(base(), layout, 7, None) for _ in range(2))
    counted = OnDevice("cpu")
    probe = fleet(base(), layout, 7, None)
    most = max(counted.peak_nbytes(partial(probe.step, [name])) for name in list(probe.jobs) * 2)
    names, jobs = list(bound.jobs), dict(bound.jobs)
    for _ in range(2):
        free.step()
    with on.limited(most * 2 if on.is_gpu else most + most // 4):
        for _ in range(2):
            bound.step([name for name in names if name in bound.jobs])
    lost = len(names) - len(bound.jobs)
    far = max(furthest(free.jobs[name], jobs[name]) for name in bound.jobs) if bound.jobs else 0.0
    return f"{lost} lost, {far:.1g} off {must(not lost and far <= 1e-4, 'must none, 1e-4')}".strip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs="*", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write(
            "bench.train_gpu: torch sees no GPU here, so nothing is measured; --device cpu runs"
            " every part at tiny sizes, which shows that it runs and nothing else\n"
        )
        return 2
    on = OnDevice(options.device)
    sizes, rounds = (GPU, options.rounds) if on.is_gpu else (TINY, 1)
    if options.child is not None:
        child(on, sizes, options.child)
        return 0
    broken.clear()
    if not on.is_gpu:
        torch.set_num_threads(1)
    if "correct" in options.only:
        correct(on, sizes)
    if "fused" in options.only:
        fused(on, sizes, rounds)
    if "full" in options.only:
        full(on, sizes)
    if "memory" in options.only:
        memory(on, sizes)
    print("Convergence on a large pre-trained model: not shown, none is at hand.")
    if broken:
        print("BROKEN: " + "; ".join(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
