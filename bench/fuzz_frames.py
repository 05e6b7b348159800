"""A million damaged frames, and what the decoder makes of them.

    python -m bench.fuzz_frames [--frames 1000000] [--seed 0] [--workers 2] [--quick]
    python -m bench.fuzz_frames --checked   # and AVX2, and portable kernels with bounds checks
    python -m bench.fuzz_frames --seed 0 --only 12345   # one again

Every frame is a sound one of some codec and dtype, damaged by chance, most of them under checks
that were made true again. A decoder may say CorruptFrame, BaseMismatch or UnsupportedFrame, or give
bytes of the length that the head names: the right ones wherever checks were not tampered with.
Anything else fails the run: another exception, a crash, more memory than the limit. Frame, base,
result and the codec's working memory end at forbidden pages, so that reading or writing beyond them
is a crash. The same seed makes the same frames.
"""

import argparse
import collections
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import codec
from bench.codec_sides import TARGETS
from bench.fuzz_mutations import MUTATIONS, Mutant, Specimen, specimens
from bench.guarded import Shelf, guard_scratch
from bench.report import print_table

FRAMES = 1_000_000
ROOM_NBYTES = 1 << 30
"""Address space that a worker may take beyond what it has when it begins."""
RANGED = 0.15
"""Share of frames of which only a range is asked for."""
OUTCOMES = ("CorruptFrame", "UnsupportedFrame", "BaseMismatch", "right bytes", "other bytes")


class Finding(Exception):
    """The decoder did what it must not."""


class Fuzzer:
    """Makes damaged frames by number and judges how each is decoded."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._specimens = specimens()
        self._names = list(MUTATIONS)
        self._weights = [weight for _, weight in MUTATIONS.values()]
        self._shelf = Shelf()

    def run(self, number: int) -> tuple[str, str]:
        """Kind of damage and outcome of one frame. Raises Finding."""
        chance = random.Random((self._seed << 40) + number)
        specimen = chance.choice(self._specimens)
        [kind] = chance.choices(self._names, self._weights)
        mutant = MUTATIONS[kind][0](chance, specimen, self._specimens)
        try:
            return kind, self._judge(chance, specimen, mutant)
        except Exception as error:
            where = f"frame {number}: {specimen.name}, {kind}"
            raise Finding(f"{where}: {type(error).__name__}: {error}") from error

    def _judge(self, chance: random.Random, specimen: Specimen, mutant: Mutant) -> str:
        frame = self._guarded("frame", mutant.frame)
        base = None if mutant.base is None else self._guarded("base", mutant.base)
        try:
            head = codec.FrameHead.parse(frame)
            start, stop = 0, head.raw_nbytes
            if stop and chance.random() < RANGED:
                start = chance.randrange(stop)
                stop = chance.randint(start, min(stop, start + 5000))
                plain = codec.decode_range(frame, start, stop, base=base)
            elif head.raw_nbytes <= len(specimen.raw):
                out = self._shelf.room("out", stop).end(stop)
                plain = codec.decode(frame, base=base, out=out)
            else:
                plain = codec.decode(frame, base=base)
        except codec.CodecError as error:
            return type(error).__name__
        if len(plain) != stop - start:
            raise ValueError(f"{len(plain)} bytes for {stop - start}")
        if plain == specimen.raw[start:stop]:
            return "right bytes"
        if not mutant.is_sealed:
            raise ValueError("wrong bytes under checks that hold")
        return "other bytes"

    def _guarded(self, purpose: str, content: bytes):
        return self._shelf.room(purpose, len(content)).holding(content)


def work(seed: int, first: int, last: int, progress: Path) -> None:
    """Run frames ``first`` to ``last`` in this process and print the outcomes as JSON."""
    fuzzer = Fuzzer(seed)
    guard_scratch()
    fuzzer.run(first)  # kernels are loaded before memory is limited
    codec.load()
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM_NBYTES, resource.RLIM_INFINITY))
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    with progress.open("r+b", buffering=0) as place:
        for number in range(first, last):
            place.seek(0)
            place.write(number.to_bytes(8, "little"))
            counts[fuzzer.run(number)] += 1
    print(json.dumps([[*key, count] for key, count in counts.items()]))


def spread(
    seed: int, frames: int, workers: int, environment: dict[str, str], scratch: Path
) -> collections.Counter[tuple[str, str]]:
    """All frames on so many processes; SystemExit with the culprit if one is lost."""
    share = -(-frames // workers)
    running = []
    for worker in range(workers):
        first, last = worker * share, min((worker + 1) * share, frames)
        progress = scratch / f"fuzz-{os.getpid()}-{worker}"
        progress.write_bytes(bytes(8))
        command = [sys.executable, "-m", "bench.fuzz_frames", "--seed", str(seed)]
        command += ["--range", str(first), str(last), "--progress", str(progress)]
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        running.append((process, progress))
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    lost = []
    for process, progress in running:
        out, err = process.communicate()
        number = int.from_bytes(progress.read_bytes(), "little")
        progress.unlink()
        if process.returncode:
            said = err.decode().strip().splitlines()[-1:] or [f"died, exit {process.returncode}"]
            lost.append(f"{said[0]} (--seed {seed} --only {number})")
            continue
        for kind, outcome, count in json.loads(out):
            counts[kind, outcome] += count
    if lost:
        raise SystemExit("\n".join(lost))
    return counts


def report(counts: collections.Counter[tuple[str, str]], title: str) -> None:
    rows = [
        [kind, *(f"{counts[kind, outcome]:,}" for outcome in OUTCOMES)]
        for kind in MUTATIONS
        if any(counts[kind, outcome] for outcome in OUTCOMES)
    ]
    print_table(title, ["damage", *OUTCOMES], rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz_frames")
    parser.add_argument("--frames", type=int, help=f"{FRAMES:,}; quick: 20,000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--checked", action="store_true", help="a tenth again on each lesser instruction set"
    )
    parser.add_argument("--only", type=int, help="run this frame alone, in this process")
    parser.add_argument("--range", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        fuzzer = Fuzzer(arguments.seed)
        guard_scratch()
        print(*fuzzer.run(arguments.only))
        return
    if arguments.range:
        work(arguments.seed, *arguments.range, arguments.progress)
        return
    frames = arguments.frames or (20_000 if arguments.quick else FRAMES)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clade" / "fuzz"
    cache.mkdir(parents=True, exist_ok=True)
    lanes = {"widest kernels": (frames, {})}
    if arguments.checked:
        checked = {
            **TARGETS["portable"],
            "NUMBA_BOUNDSCHECK": "1",
            "NUMBA_CACHE_DIR": str(cache / "checked"),
        }
        lanes["kernels for AVX2"] = (frames // 10, TARGETS["avx2"])
        lanes["portable kernels with bounds checks"] = (frames // 10, checked)
    for lane, (count, environment) in lanes.items():
        began = time.monotonic()
        counts = spread(arguments.seed, count, arguments.workers, environment, cache)
        elapsed = time.monotonic() - began
        report(counts, f"{sum(counts.values()):,} damaged frames, {lane}, {elapsed:.0f} s")


if __name__ == "__main__":
    main()
