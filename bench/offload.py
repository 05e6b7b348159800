"""Step time of offloaded fine-tuning, ZenFlow beside synchronous offload: device and link EMULATED.

The device computes by waiting for a stated time, and its tensors have no content (torch's "meta").
The link waits for bytes / bandwidth, in each direction by itself. All that a host does is real: our
optimizer and its threads, additions in float32, torch's fused AdamW on one thread, casts. Not
emulated: what transfers take of the host's memory bandwidth.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bench.report import interleaved, median, print_table
from training.optim import ZenFlow, ZenFlowOptions
from training.optim.adamw import AdamwRows, Rates
from training.optim.link import Link
from training.optim.matrix import add_widened
from training.sim.offload import OffloadTimes, synchronous_s, zenflow_s

LAYERS, WIDTH = 8, 3072
"""Square matrices: 75 million numbers in bfloat16."""
WARM_STEPS = 8
TOPK = 0.1
RATES = Rates(lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
MUST_GAIN, MUST_STALL = 2.0, 0.2


class EmulatedLink(Link):
    """To a device without content. What comes from it was drawn before, as if a DMA had put it."""

    def __init__(self, bytes_s: float) -> None:
        self.device = torch.device("meta")
        self.bytes_s = bytes_s
        chance = torch.Generator().manual_seed(0)
        drawn = [torch.randn(WIDTH, WIDTH, generator=chance).bfloat16() for _ in range(LAYERS)]
        self._drawn = itertools.cycle(drawn)

    def mark(self) -> None:
        """Nothing is under way on a device that only waits."""

    def to_host(self, tensor: torch.Tensor, mark: Any) -> torch.Tensor:
        self._cross(tensor.nbytes)
        if not tensor.is_floating_point():  # columns that were chosen
            return torch.arange(len(tensor))
        return next(self._drawn)[: len(tensor)]

    def to_device(self, tensor: torch.Tensor, mark: Any) -> torch.Tensor:
        self._cross(tensor.nbytes)
        return tensor.to(self.device)

    def _cross(self, nbytes: int) -> None:
        time.sleep(nbytes / self.bytes_s)


class Device:
    """Takes ``step_s`` for a step: a third forward, then gradients of layer after layer."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.weights = [
            torch.nn.Parameter(torch.empty(WIDTH, WIDTH, dtype=torch.bfloat16, device="meta"))
            for _ in range(LAYERS)
        ]

    def compute(self, gradient_is_there: Callable[[int], object]) -> None:
        """One step; told of layers in the order of the backward pass."""
        start = time.perf_counter()
        for number, layer in enumerate(reversed(range(LAYERS)), start=1):
            share = 1 / 3 + 2 / 3 * number / LAYERS
            time.sleep(max(0.0, start + share * self.step_s - time.perf_counter()))
            self.weights[layer].grad = torch.empty_like(self.weights[layer])
            gradient_is_there(layer)


def zenflow(device: Device, link: EmulatedLink, interval: int, steps: int) -> float:
    """Seconds a step."""
    options = ZenFlowOptions(
        topk_ratio=TOPK, update_interval=interval, select_interval=interval * 10_000
    )
    optimizer = ZenFlow(device.weights, lr=RATES.lr, options=options, link=link)

    def step() -> None:
        device.compute(lambda _: None)
        optimizer.step()
        optimizer.zero_grad()

    spent = _timed(step, steps)
    optimizer.close()
    return spent


class SynchronousOffload:
    """As ZeRO-Offload does it (Ren et al., arXiv 2101.06840): every step waits for its update.

    Gradients go down during the backward pass; AdamW runs matrix by matrix, and values go up
    behind it. ``eager``: it starts with the first gradient that is there, which leaves no moment at
    which the norm of all gradients is known: no clipping.
    """

    def __init__(self, device: Device, link: EmulatedLink, *, eager: bool) -> None:
        self._device, self._link, self._eager = device, link, eager
        self._rows = [AdamwRows(torch.zeros(WIDTH, WIDTH)) for _ in range(LAYERS)]
        self._grads = [torch.zeros(WIDTH, WIDTH) for _ in range(LAYERS)]
        self._down, self._host, self._up = (ThreadPoolExecutor(1) for _ in range(3))
        self._arrived: list[Future[Future[None]]] = []
        self._updated: list[Future[Future[None]]] = []

    def step(self) -> None:
        self._device.compute(self._send)
        for each in self._arrived:
            each.result().result()
        if not self._eager:
            self._updated = [self._host.submit(self._update, n) for n in reversed(range(LAYERS))]
        for each in self._updated:
            each.result().result()
        self._arrived, self._updated = [], []

    def close(self) -> None:
        for each in (self._down, self._host, self._up):
            each.shutdown()

    def _send(self, layer: int) -> None:
        self._arrived.append(self._down.submit(self._receive, layer))

    def _receive(self, layer: int) -> Future[None]:
        arrived = self._link.to_host(self._device.weights[layer], None)
        widened = self._host.submit(self._widen, layer, arrived)
        if self._eager:
            self._updated.append(self._host.submit(self._update, layer))
        return widened

    def _widen(self, layer: int, arrived: torch.Tensor) -> None:
        self._grads[layer].copy_(arrived)

    def _update(self, layer: int) -> Future[None]:
        self._rows[layer].update(self._grads[layer], RATES)
        return self._up.submit(self._return, self._rows[layer].values.bfloat16())

    def _return(self, values: torch.Tensor) -> None:
        self._link.to_device(values, None)


def synchronous(device: Device, link: EmulatedLink, steps: int, *, eager: bool) -> float:
    """Seconds a step."""
    offload = SynchronousOffload(device, link, eager=eager)
    spent = _timed(offload.step, steps)
    offload.close()
    return spent


def _timed(step: Callable[[], None], steps: int) -> float:
    for _ in range(WARM_STEPS):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def host_times() -> Mapping[str, float]:
    """Seconds that the host takes for all weights, by what it does, nothing else beside it."""
    rows = [AdamwRows(torch.zeros(WIDTH, WIDTH)) for _ in range(LAYERS)]
    grads = [torch.zeros(WIDTH, WIDTH) for _ in range(LAYERS)]
    sent = [torch.zeros(WIDTH, WIDTH, dtype=torch.bfloat16) for _ in range(LAYERS)]

    def timed(work: Callable[[int], object]) -> float:
        start = time.perf_counter()
        for layer in range(LAYERS):
            work(layer)
        return time.perf_counter() - start

    works: Mapping[str, Callable[[int], object]] = {
        "adamw_s": lambda layer: rows[layer].update(grads[layer], RATES),
        "cast_s": lambda layer: rows[layer].values.bfloat16(),
        "widen_s": lambda layer: grads[layer].copy_(sent[layer]),
        "add_s": lambda layer: add_widened(grads[layer], sent[layer]),
    }
    return {name: median([timed(work) for _ in range(6)][1:]) for name, work in works.items()}


@dataclass(frozen=True, slots=True)
class Point:
    """What is emulated: a share of the host's time for a device's step, and bytes a second."""

    share: float
    gb_s: float
    interval: int = 4


POINTS = (
    *(Point(share, 16) for share in (0.25, 0.5, 0.75, 1, 2)),
    *(Point(share, 4) for share in (0.5, 1)),
    *(Point(0.5, 16, interval) for interval in (1, 2, 8)),
)


def step_time(rounds: int, steps: int, points: Sequence[Point] = POINTS) -> None:
    """The table. ``steps``: a multiple of all intervals, so that windows are whole."""
    host = host_times()
    host_s = host["adamw_s"] + host["cast_s"]
    rows = []
    for point in points:
        device, link = Device(point.share * host_s), EmulatedLink(point.gb_s * 1e9)
        spent = interleaved(
            rounds,
            {
                "synchronous": partial(synchronous, device, link, steps, eager=False),
                "eager": partial(synchronous, device, link, steps, eager=True),
                "zenflow": partial(zenflow, device, link, point.interval, steps),
            },
        )
        step_s = {name: median(times) for name, times in spent.items()}
        stalls = {name: 1 - device.step_s / each for name, each in step_s.items()}
        gain = step_s["synchronous"] / step_s["zenflow"]
        missed = [
            *([f"below {MUST_GAIN:g}"] if gain < MUST_GAIN else []),
            *([f"stalls above {MUST_STALL:g}"] if stalls["zenflow"] > MUST_STALL else []),
        ]
        times = OffloadTimes(
            **host,
            step_s=device.step_s,
            link_s=2 * LAYERS * WIDTH**2 / link.bytes_s,
            layers=LAYERS,
        )
        foretold = (
            synchronous_s(times), zenflow_s(times, share=TOPK, interval=point.interval)
        )  # fmt: skip
        rows.append(
            [
                point.interval,
                f"{point.gb_s:g}",
                f"{device.step_s * 1e3:.0f}",
                f"{point.share:g}",
                *(f"{step_s[name] * 1e3:.0f} ({stalls[name]:.2f})" for name in step_s),
                f"{gain:.2f}",
                f"{step_s['eager'] / step_s['zenflow']:.2f}",
                " / ".join(f"{each * 1e3:.0f}" for each in foretold),
                ", ".join(missed),
            ]
        )
    print_table(
        f"EMULATED device and link, real host: ms a step (share that the device stands still), "
        f"{LAYERS} matrices of {WIDTH} x {WIDTH}, k={TOPK}, {rounds} rounds of {steps} steps",
        ["S", "GB/s", "device ms", "/ host", "synchronous", "eager", "zenflow", "sync /", "eager /",
         "SIMULATED", ""],
        rows,
        f"/ host: device's time over the host's for AdamW and casts, {host_s * 1e3:.0f} ms; "
        "eager: synchronous, AdamW from the first gradient on, no clipping; "
        "SIMULATED: synchronous / zenflow on a virtual clock, by what the host takes alone",
    )  # fmt: skip
