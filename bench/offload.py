"""Offloaded fine-tuning with an EMULATED device and link: ZenFlow, and synchronous offload.

The device takes a stated time for a step, which it begins when the last one is done and this one
was given to it: work is given ahead, as it is to a GPU. Its tensors have no content (torch's
"meta"). The link waits for what the device has to do before, and for bytes / bandwidth, in each
direction by itself. All that a host does is real: our optimizer and its threads, additions in
float32, torch's fused AdamW on one thread, casts. Not emulated: what transfers take of the host's
memory bandwidth, and that losses are read, which our own loop does a step late.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from bench.report import median
from training.optim import ZenFlow, ZenFlowOptions
from training.optim.adamw import AdamwRows, Rates
from training.optim.adding import TOGETHER, add_up
from training.optim.host import ROOM
from training.optim.link import Link
from training.optim.window import Window

LAYERS, WIDTH = 8, 3072
"""Square matrices: 75 million numbers in bfloat16."""
NUMBERS = LAYERS * WIDTH**2
WARM_STEPS = 8
"""At least: with windows, three of them, as either has memory of its own and each hides one."""
TOPK = 0.1
RATES = Rates(lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


class EmulatedLink(Link):
    """To a device without content. What comes from it was drawn before, as if a DMA had put it."""

    def __init__(self, device: "Device", bytes_s: float) -> None:
        self.device = torch.device("meta")
        self.bytes_s = bytes_s
        self._there = device
        chance = torch.Generator().manual_seed(0)
        # One more than layers: a layer's gradients of two steps are two places in memory.
        drawn = [torch.randn(WIDTH, WIDTH, generator=chance).bfloat16() for _ in range(LAYERS + 1)]
        self._drawn = itertools.cycle(drawn)

    def mark(self) -> float:
        """When the device is done."""
        return self._there.done_at

    def to_host(self, tensor: torch.Tensor, mark: float) -> torch.Tensor:
        sleep_until(mark)
        self._cross(tensor.nbytes)
        if not tensor.is_floating_point():  # columns that were chosen
            return torch.arange(len(tensor))
        return next(self._drawn)[: len(tensor)]

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        self._cross(tensor.nbytes)
        return tensor.to(self.device)

    def seen(self, arrived: torch.Tensor) -> None:
        """Nothing lies on such a device."""

    def _cross(self, nbytes: int) -> None:
        time.sleep(nbytes / self.bytes_s)


class Device:
    """Takes ``step_s`` for a step: a third forward, then gradients of layer after layer."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.done_at = 0.0
        """With all that it was given."""
        self.weights = [
            torch.nn.Parameter(torch.empty(WIDTH, WIDTH, dtype=torch.bfloat16, device="meta"))
            for _ in range(LAYERS)
        ]

    def compute(self) -> list[float]:
        """Give it one more step; when the gradient of each layer is there."""
        start = max(self.done_at, time.perf_counter())
        self.done_at = start + self.step_s
        for weight in self.weights:
            weight.grad = torch.empty_like(weight)
        shares = [1 / 3 + 2 / 3 * (LAYERS - layer) / LAYERS for layer in range(LAYERS)]
        return [start + share * self.step_s for share in shares]


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.perf_counter()))


def zenflow(device: Device, link: EmulatedLink, interval: int, steps: int) -> float:
    """Seconds a step."""
    options = ZenFlowOptions(
        topk_ratio=TOPK, update_interval=interval, select_interval=interval * 10_000
    )
    optimizer = ZenFlow(device.weights, lr=RATES.lr, options=options, link=link)

    def step() -> None:
        device.compute()
        optimizer.step()
        optimizer.zero_grad()

    spent = _timed(device, step, steps, warm=max(WARM_STEPS, 3 * interval))
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
        there_at = self._device.compute()
        for layer in reversed(range(LAYERS)):
            self._arrived.append(self._down.submit(self._receive, layer, there_at[layer]))
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

    def _receive(self, layer: int, there_at: float) -> Future[None]:
        arrived = self._link.to_host(self._device.weights[layer], there_at)
        widened = self._host.submit(self._widen, layer, arrived)
        if self._eager:
            self._updated.append(self._host.submit(self._update, layer))
        return widened

    def _widen(self, layer: int, arrived: torch.Tensor) -> None:
        self._grads[layer].copy_(arrived)

    def _update(self, layer: int) -> Future[None]:
        self._rows[layer].update(self._grads[layer], RATES)
        return self._up.submit(self._return, layer)

    def _return(self, layer: int) -> None:
        self._link.to_device(self._rows[layer].values.bfloat16())


def synchronous(device: Device, link: EmulatedLink, steps: int, *, eager: bool) -> float:
    """Seconds a step."""
    offload = SynchronousOffload(device, link, eager=eager)
    spent = _timed(device, offload.step, steps)
    offload.close()
    return spent


def _timed(device: Device, step: Callable[[], None], steps: int, warm: int = WARM_STEPS) -> float:
    for _ in range(warm):
        step()
    sleep_until(device.done_at)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    sleep_until(device.done_at)
    return (time.perf_counter() - start) / steps


def host_times() -> Mapping[str, float]:
    """Seconds that the host takes for all weights, by what it does, nothing else beside it."""
    rows = [AdamwRows(torch.zeros(WIDTH, WIDTH)) for _ in range(LAYERS)]
    grads = [torch.zeros(WIDTH, WIDTH) for _ in range(LAYERS)]
    sent = [torch.zeros(WIDTH, WIDTH, dtype=torch.bfloat16) for _ in range(LAYERS)]
    window, room = Window(torch.float32), torch.empty(ROOM)

    def parts(layer: int) -> list[torch.Tensor]:
        return [sent[(layer + number) % LAYERS] for number in range(TOGETHER)]

    def close(layer: int) -> None:
        for part in parts(layer):
            window.add(part)
        rows[layer].update_by(window.means(room), RATES)

    def timed(work: Callable[[int], object]) -> float:
        start = time.perf_counter()
        for layer in range(LAYERS):
            work(layer)
        return time.perf_counter() - start

    works: Mapping[str, Callable[[int], object]] = {
        "adamw_s": lambda layer: rows[layer].update(grads[layer], RATES),
        "cast_s": lambda layer: rows[layer].values.bfloat16(),
        "widen_s": lambda layer: grads[layer].copy_(sent[layer]),
        "fold_s": lambda layer: add_up(grads[layer], parts(layer), is_first=True),
        "closing_s": close,
        "copy_s": lambda layer: rows[layer].mean.copy_(grads[layer]),
    }
    return {name: median([timed(work) for _ in range(6)][1:]) for name, work in works.items()}
