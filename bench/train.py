"""Fine-tuning: many LoRA jobs fused against one after the other, memory, a simulated day, traffic.

All parts run in turns, ours beside the peer, several rounds; ratios are medians of the rounds' own.
CPU seconds of one thread. Where fusing loses the table says so.

    python -m bench.train [--only PART…] [--rounds N] [--quick]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from bench.report import interleaved, median, median_ratio, print_table
from training.data.sample import Sample
from training.lora.adapter import new_adapter
from training.lora.job import LoraJob
from training.lora.options import LoraOptions
from training.lora.trainer import FusedTrainer
from training.optim import ZenFlow, ZenFlowOptions
from training.sched.job import JobView
from training.sched.memory import non_negative_least_squares
from training.sched.policy import Fifo, MinPad, Packed, Policy
from training.sched.rank import Aging
from training.sched.room import Room
from training.sched.shape import Layout, padded_width
from training.schedule import Schedule
from training.sim.day import day_of_jobs
from training.sim.simulator import SimOutcome, StepTime, simulate

VOCABULARY = 512
PARTS = ("fused", "memory", "foretold", "day", "stops", "zenflow", "step", "convergence")
MEASURED = StepTime(base_s=0.0061, job_s=0.00258, token_s=0.0002, square_s=1.87e-07)
"""CPU seconds of the model below with d = 256 (AMD EPYC, one thread), as `fused` prints them."""
TIMES = 8
SIMULATED = StepTime(*(TIMES * each for each in astuple(MEASURED)))
"""A model of eight times the work, about d = 768: a day of it is simulated within minutes."""


def llama(hidden: int, layers: int = 4) -> PreTrainedModel:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def samples(lengths: Sequence[int], seed: int) -> list[Sample]:
    chance = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(3, VOCABULARY, (n,), generator=chance) for n in lengths]
    return [Sample(each, torch.ones(len(each), dtype=torch.bool)) for each in tokens]


def lengths_of(count: int, kind: str, job: int) -> list[int]:
    """``equal``: 16 to 32 tokens in all jobs; ``skewed``: from 16 to 128, a scale to each job."""
    chance = torch.Generator().manual_seed(100 + job)
    longest = 32 if kind == "equal" else 32 * 2 ** (job % 3)
    return torch.randint(longest // 2, longest + 1, (count,), generator=chance).tolist()


def jobs_of(model: torch.nn.Module, count: int, kind: str, batch: int) -> list[LoraJob]:
    return [
        LoraJob(
            f"job{number}",
            new_adapter(model, LoraOptions(r=8), seed=number),
            samples(lengths_of(8 * batch, kind, number), number),
            Schedule(1e-3, 10_000, "constant"),
            batch_size=batch,
            seed=number,
        )
        for number in range(count)
    ]


def timed(run: Callable[..., None], *arguments: object) -> float:
    """CPU seconds."""
    start = time.process_time()
    run(*arguments)
    return time.process_time() - start


def fused(rounds: int, hiddens: Sequence[int], steps: int) -> None:
    """Tokens per CPU second: the same steps of the same jobs, together and one after the other."""
    rows = []
    for hidden in hiddens:
        trainers = {layout: FusedTrainer(llama(hidden), layout=layout) for layout in Layout}
        for count, kind, batch in (
            (4, "equal", 1),
            (8, "equal", 1),
            (4, "skewed", 1),
            (8, "skewed", 1),
            (4, "equal", 8),
            (4, "skewed", 8),
        ):
            if batch > 1 and hidden > 256:
                continue  # minutes, and the answer is that of the smaller width
            contenders: dict[str, Callable[[], float]] = {}
            for name, run, layout in (
                ("alone", apart, Layout.PADDED),
                ("padded", together, Layout.PADDED),
                ("packed", together, Layout.PACKED),
            ):
                jobs = jobs_of(trainers[layout].base.model, count, kind, batch)
                contenders[name] = partial(timed, run, trainers[layout], jobs, steps)
            tokens = sum(
                len(each) for job in jobs for step in range(steps) for each in job.order.batch(step)
            )
            for run in contenders.values():
                run()  # warm
            spent = interleaved(rounds, contenders)
            packed, padded = (
                1 / median_ratio(spent[name], spent["alone"]) for name in ("packed", "padded")
            )
            rates = {name: f"{tokens / median(times):.0f}" for name, times in spent.items()}
            told = "" if padded >= 1 else "padded loses" if packed >= 1 else "both lose"
            ratios = [f"{padded:.2f}", f"{packed:.2f}", told]
            rows.append([hidden, count, kind, batch, *rates.values(), *ratios])
    print_table(
        f"real tokens per CPU second, r = 8, all linear layers, {steps} steps, {rounds} rounds",
        ["d", "jobs", "lengths", "batch", "alone", "padded", "packed", "/ alone", "/ alone", ""],
        rows,
        "alone: the same trainer, one job after the other, each at its own width",
    )
    print(f"step time, d = {hiddens[0]}: {calibrate(hiddens[0])}")


def together(trainer: FusedTrainer, jobs: Sequence[LoraJob], steps: int) -> None:
    for job in jobs:
        job.num_steps = 0
        trainer.join(job)
    for _ in range(steps):
        trainer.step()
    for job in jobs:
        trainer.leave(job.name)


def apart(trainer: FusedTrainer, jobs: Sequence[LoraJob], steps: int) -> None:
    for job in jobs:
        together(trainer, [job], steps)


def calibrate(hidden: int) -> StepTime:
    """Non-negative least squares over steps of many shapes, for the simulator."""
    trainer = FusedTrainer(llama(hidden), layout=Layout.PACKED)
    rows, seconds = [], []
    for count in (1, 2, 4, 8):
        for length in (16, 64, 256):
            for batch in (1, 4):
                jobs = jobs_of(trainer.base.model, count, "equal", batch)
                for job in jobs:
                    job.order = type(job.order)(samples([length] * batch, 0), batch, 0)
                together(trainer, jobs, 1)
                tokens = count * batch * length
                seconds.append(min(timed(together, trainer, jobs, 1) for _ in range(2)))
                rows.append([1, count, tokens, tokens * length])
    wanted, given = torch.tensor(seconds).double(), torch.tensor(rows).double()
    found = non_negative_least_squares(
        (given / wanted[:, None]).numpy(), torch.ones(len(rows)).double().numpy()
    )
    return StepTime(*(float(f"{each:.3g}") for each in found))


def memory(hidden: int) -> None:
    """Resident memory at the peak: four jobs in one process against a process for each."""

    def peak(count: int) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "bench.train", "--child", str(count), "--hidden", str(hidden)],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout.split()[-1])

    one, four, none = peak(1), peak(4), peak(0)
    print_table(
        f"peak resident memory, d = {hidden}, jobs of one sequence of 16 to 32 tokens",
        ["", "MB", "/ four processes"],
        [
            ["four processes of one job", f"{4 * one / 1e6:.0f}", "1.000"],
            ["one process of four jobs", f"{four / 1e6:.0f}", f"{four / (4 * one):.3f}"],
            ["without the interpreter and torch", "", f"{(four - none) / (4 * (one - none)):.3f}"],
        ],
    )


def child(count: int, hidden: int) -> None:
    trainer = FusedTrainer(llama(hidden)) if count else None
    if trainer is not None:
        together(trainer, jobs_of(trainer.base.model, count, "equal", 1), 4)
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) * 1024)


class LikeFifo:
    """First come, first served, together with whoever came next and is about as long."""

    name = "like"
    spread = 1.25

    def choose(self, jobs: Sequence[JobView], room: Room, now_s: float) -> list[JobView]:
        queue = sorted(jobs, key=lambda job: job.arrived_s)
        widths = {job.name: padded_width(each.tokens for each in job.shapes()) for job in queue}
        first = widths[queue[0].name]
        near = [q for q in queue if first / self.spread <= widths[q.name] <= first * self.spread]
        return Fifo().choose(near, room, now_s)


def day(seeds: int) -> None:
    """SIMULATED: a busy day under ours, and under first come, first served, from naive to best."""
    contenders: dict[str, tuple[Policy, Layout, int]] = {
        "fifo, fused (naive)": (Fifo(), Layout.PADDED, 4),
        "fifo, like lengths fused": (LikeFifo(), Layout.PADDED, 4),
        "fifo, one at a time": (Fifo(), Layout.PADDED, 1),
        "fifo, one at a time, packed": (Fifo(), Layout.PACKED, 1),
        "fifo, packed": (Fifo(), Layout.PACKED, 4),
        "minpad, adaptive 60 %": (MinPad(Aging(), 0.6), Layout.PADDED, 4),
        "packed, by rank": (Packed(Aging()), Layout.PACKED, 4),
    }
    found: dict[str, list[SimOutcome]] = {name: [] for name in contenders}
    found["packed, by rank, early stop"] = []
    for seed in range(seeds):
        for name, (policy, layout, most) in contenders.items():
            room = Room(layout=layout, most_jobs=most, most_tokens=8192)
            found[name].append(simulate(day_of_jobs(300, seed), policy, room, SIMULATED))
        room, jobs = (
            Room(layout=Layout.PACKED, most_jobs=4, most_tokens=8192),
            day_of_jobs(300, seed),
        )
        stopped = simulate(jobs, Packed(Aging()), room, SIMULATED, early_stop=True)
        found["packed, by rank, early stop"].append(stopped)

    def share(name: str, of: str, what: str) -> str:
        pairs = zip(found[name], found[of], strict=True)
        return f"{median(getattr(a, what) / getattr(b, what) for a, b in pairs):.3f}"

    rows = []
    for name, outs in found.items():
        row: list[object] = [name]
        for what in ("turnaround_s", "makespan_s"):
            row.append(f"{median(getattr(each, what) for each in outs) / 3600:.2f}")
            row += [share(name, of, what) for of in ("fifo, fused (naive)", "fifo, one at a time")]
        row.append(f"{median(each.padding for each in outs):.2f}")
        row.append(f"{median(each.fairness for each in outs):.2f}")
        rows.append(row)
    print_table(
        f"SIMULATED: 300 jobs in 24 hours, {seeds} days; step time {SIMULATED}",
        ["policy", "turnaround h", "/ naive", "/ solo", "makespan h", "/ naive", "/ solo",
         "padding", "fairness"],
        rows,
        "solo: one at a time, padded; "
        "fairness: Jain's index of turnarounds; shortest first is unfair to long ones, until aged",
    )  # fmt: skip


def zenflow() -> None:
    """Bytes between device and host for each step, by counter, against the formula."""
    rows = []
    for ratio in (0.0, 0.1, 0.3):
        for interval in (1, 2, 4, 8):
            model = llama(128, 2)
            matrices = [p for p in model.parameters() if p.ndim == 2]
            options = ZenFlowOptions(
                topk_ratio=ratio, update_interval=interval, select_interval=1000 * interval
            )
            optimizer = ZenFlow(matrices, options=options)
            steps = 2 * interval
            for _ in range(steps):
                for matrix in matrices:
                    matrix.grad = torch.randn_like(matrix)
                optimizer.step()
            optimizer.close()
            moved = optimizer.traffic.to_host_nbytes + optimizer.traffic.to_device_nbytes
            told = sum((1 - int(ratio * m.shape[1]) / m.shape[1]) * m.nbytes for m in matrices)
            share = moved / steps / sum(m.nbytes for m in matrices)
            exact = told * (1 + 1 / interval) / sum(m.nbytes for m in matrices)
            rows.append(
                [ratio, interval, f"{share:.4f}", f"{exact:.4f}",
                 f"{(1 - ratio) * (1 + 1 / interval):.4f}", f"{share / 2:.3f}"]
            )  # fmt: skip
    print_table(
        "ZenFlow: bytes moved in a step / bytes of the matrices",
        ["k", "S", "counted", "whole columns", "(1-k)(1+1/S)", "/ full offload"],
        rows,
        "whole columns: k·width is rounded down; full offload moves gradients and weights, 2",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=768, help="of the model for memory")
    parser.add_argument("--quick", action="store_true", help="one width, fewer rounds")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child is not None:
        child(options.child, options.hidden)
        return
    if options.quick:
        options.rounds, options.steps = 2, 2
    if "fused" in options.only:
        fused(options.rounds, (256,) if options.quick else (256, 768), options.steps)
    if "memory" in options.only:
        memory(options.hidden)
    if "foretold" in options.only:
        from bench.foretold import foretold

        foretold(partial(llama, 64, 2), 100 if options.quick else 500)
    if "day" in options.only:
        day(1 if options.quick else 2)
    if "stops" in options.only:
        from bench.stops import stops

        stops(1 if options.quick else 4)
    if "zenflow" in options.only:
        zenflow()
    if "step" in options.only:
        from bench.offload_points import step_time

        step_time(1 if options.quick else 2, 16)
    if "convergence" in options.only:
        from bench.zenflow import convergence

        convergence(2 if options.quick else 3, 60 if options.quick else 200)


if __name__ == "__main__":
    main()
