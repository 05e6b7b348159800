"""Operating points of offloaded training: two that others published, and a sweep around them.

A point says how long a device computes, and how long all weights cross the link, as shares of what
the host takes to update and cast them. The published ones were fixed before anything was measured
at them:

*A*: Llama-2-7B on four A100 (DeepSpeed, blogs/deepspeed-zenflow): with ZeRO-Offload a step takes
"over 7 s" of which the device stands idle for "over 60 %", so it computes for 2.8 s (their 2 s of
backward and half of it forward make 3) and the host takes the other 4.2 s ("longer than 4 s"):
share .667. 13.5 GB in bfloat16 over PCIe 4.0, their "32 GB/s": .42 s, share .1.

*B*: Qwen2.5-1.5B on two A100-40G and two EPYC 7742 (DeepSpeed, blogs/zenflow-corebinding): a step
takes 240 ms without offload, which is the most the device can need, and 1,365 ms with ZeRO-Offload
on cores of its own, so the host takes 1,125 ms: share .213. 3.1 GB over the same link: 96 ms, .086.

Both give all that is not the device's to the host, transfers that were waited for with it: devices
are taken to be faster beside it than they were, which is harder to hide from. S = 4 and k = .1 are
what both configurations have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.offload import (
    LAYERS,
    NUMBERS,
    TOPK,
    WIDTH,
    Device,
    EmulatedLink,
    host_times,
    synchronous,
    zenflow,
)
from bench.report import interleaved, median, print_table
from training.sim.offload import OffloadTimes, floor_s, synchronous_s, zenflow_s


@dataclass(frozen=True, slots=True)
class Point:
    """``device``, ``link``: seconds of a step and of one crossing, over the host's."""

    name: str
    device: float
    link: float
    interval: int = 4

    @property
    def is_judged(self) -> bool:
        """Whether the promise is of this point."""
        return self.name == "A" and self.interval == 4


A = Point("A", 2.8 / 4.2, 0.42 / 4.2)
B = Point("B", 240 / 1125, 96 / 1125)
PUBLISHED = (
    A,
    *(Point("A", A.device, A.link, interval) for interval in (1, 2, 8)),
    B,
    *(Point("B", B.device, B.link, interval) for interval in (8, 16)),
)
SWEEP = (
    *(Point("", device, 0.1) for device in (0.125, 0.25, 0.5, 1, 2)),
    *(Point("", device, 0.4) for device in (0.5, 1)),
)
MUST_GAIN, MUST_STALL = 2.0, 0.2
"""At point A with S = 4."""


def step_time(rounds: int, steps: int, points: Sequence[Point] = (*PUBLISHED, *SWEEP)) -> None:
    """Both tables. ``steps``: a multiple of all intervals, so that windows are whole."""
    host = dict(host_times())
    host_table(host)
    del host["copy_s"]
    host_s = host["adamw_s"] + host["cast_s"]
    host["last_s"] = max(0.0, host.pop("closing_s") - host["adamw_s"])
    rows = []
    for point in points:
        device = Device(point.device * host_s)
        link = EmulatedLink(device, 2 * NUMBERS / (point.link * host_s))
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
        times = OffloadTimes(
            **host, step_s=device.step_s, link_s=point.link * host_s, layers=LAYERS
        )
        floor = floor_s(times, share=TOPK, interval=point.interval)
        foretold = synchronous_s(times) / zenflow_s(times, share=TOPK, interval=point.interval)
        gain, most = (step_s["synchronous"] / each for each in (step_s["zenflow"], floor))
        rows.append(
            [
                point.name,
                point.interval,
                f"{point.device:.3g}",
                f"{point.link:.2g}",
                f"{device.step_s * 1e3:.0f}",
                *(f"{step_s[name] * 1e3:.0f} ({stalls[name]:.2f})" for name in step_s),
                f"{gain:.2f}",
                f"{most:.2f}",
                f"{foretold:.2f}",
                f"{step_s['eager'] / step_s['zenflow']:.2f}",
                _verdict(point, gain, most, stalls["zenflow"], 1 - device.step_s / floor),
            ]
        )
    print_table(
        f"EMULATED device and link, real host: ms a step (share that the device stands still), "
        f"{LAYERS} matrices of {WIDTH} x {WIDTH}, k={TOPK}, {rounds} rounds of {steps} steps",
        ["", "S", "device", "link", "ms", "synchronous", "eager", "zenflow", "sync /", "at most",
         "SIMULATED", "eager /", ""],
        rows,
        f"device, link: over the host's AdamW and casts, {host_s * 1e3:.0f} ms; at most: by what "
        "device, link and the host's thread have to do each for itself, no schedule gains more; "
        "SIMULATED: on a virtual clock, by what the host takes alone; eager: synchronous, AdamW "
        "from the first gradient on, no clipping",
    )  # fmt: skip


def _verdict(point: Point, gain: float, most: float, stall: float, least: float) -> str:
    """Where the promise is missed, and whether anything could keep it there."""
    told = []
    if gain < MUST_GAIN:
        told.append(f"below {MUST_GAIN:g}" + (", as it must be" if most < MUST_GAIN else ""))
    if stall > MUST_STALL:
        told.append(f"stalls above {MUST_STALL:g}" + (", as it must" if least > MUST_STALL else ""))
    return "; ".join(told) or ("kept" if point.is_judged else "")


BYTES = {"adamw_s": 28, "cast_s": 6, "widen_s": 6, "fold_s": 12, "closing_s": 32, "copy_s": 8}
"""Read and written for a number, without what a cache reads before it is written over."""


def host_table(times: Mapping[str, float]) -> None:
    """What the host's parts take, and how near they are to copying as many bytes."""
    copy = BYTES["copy_s"] / times["copy_s"]
    rows = [
        [name.removesuffix("_s"), f"{each / NUMBERS * 1e9:.3f}", BYTES[name],
         f"{BYTES[name] * NUMBERS / each / 1e9:.0f}", f"{BYTES[name] / each / copy:.2f}"]
        for name, each in times.items()
    ]  # fmt: skip
    print_table(
        "the host, one thread, by part",
        ["", "ns a number", "bytes", "GB/s", "/ copying"],
        rows,
        "fold: four gradients in bfloat16 into one sum in float32; adamw: torch's, fused; closing: "
        "both at once, part by part",
    )
