"""Hostile bytes by the million for everything that reads what a client sends.

    python -m bench.fuzz_parsers [--inputs 1000000] [--seed 0] [--only TARGET] [--first N]

Each target starts from sound inputs of its format, made by the builders of the tests, and damages
them: bits, bytes, lengths and numbers of the format, slices moved, doubled and spliced between
inputs. A parser may answer, or refuse with an error of the hub's own (a 4xx at the edge). Any other
exception is a finding, as is an input that takes longer than ``SLOW_S`` or memory beyond
``ROOM_NBYTES``. The same seed and number make the same input.
"""

import argparse
import collections
import random
import resource
import sys
import time
import traceback
from pathlib import Path

from bench.fuzz_targets import REFUSALS, TARGETS, Target
from bench.report import print_table

INPUTS = 1_000_000
SLOW_S = 5.0
ROOM_NBYTES = 1 << 30
"""Address space that the run may take beyond what it has when it begins."""

NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 4095, 65535, 1 << 16, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip


def damaged(chance: random.Random, target: Target) -> bytes:
    """One input: a sound one after up to six mishaps."""
    data = bytearray(chance.choice(target.seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 6))):
        MISHAPS[chance.randrange(len(MISHAPS))](chance, data, target)
    done = bytes(data)
    return target.mend(done) if target.mend and chance.random() < 0.6 else done


def _flip(chance: random.Random, data: bytearray, _target: Target) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, data: bytearray, _target: Target) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _number(chance: random.Random, data: bytearray, _target: Target) -> None:
    """A length or count in the middle of it becomes another."""
    width = chance.choice((1, 2, 4, 8))
    if len(data) >= width:
        at = chance.randrange(len(data) - width + 1)
        value = chance.choice(NUMBERS) & ((1 << 8 * width) - 1)
        data[at : at + width] = value.to_bytes(width, chance.choice(("little", "big")))


def _digits(chance: random.Random, data: bytearray, _target: Target) -> None:
    """A number that is written out becomes another."""
    places = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if places:
        at = chance.choice(places)
        text = chance.choice(("-1", "0", "1e309", "9" * 30, "NaN", "0.5", "true", '"1"', "[]"))
        data[at : at + 1] = text.encode()


def _cut(chance: random.Random, data: bytearray, _target: Target) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _drop(chance: random.Random, data: bytearray, _target: Target) -> None:
    start = chance.randrange(len(data) + 1)
    del data[start : start + chance.randrange(1, 40)]


def _double(chance: random.Random, data: bytearray, _target: Target) -> None:
    start = chance.randrange(len(data) + 1)
    part = data[start : start + chance.randrange(1, 200)]
    at = chance.randrange(len(data) + 1)
    data[at:at] = part * chance.choice((1, 1, 2, 20))


def _splice(chance: random.Random, data: bytearray, target: Target) -> None:
    other = chance.choice(target.seeds)
    start = chance.randrange(len(other) + 1)
    at = chance.randrange(len(data) + 1)
    data[at : at + chance.randrange(60)] = other[start : start + chance.randrange(1, 300)]


def _word(chance: random.Random, data: bytearray, target: Target) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice(target.words)


MISHAPS = (_flip, _set, _number, _digits, _cut, _drop, _double, _splice, _word)


def run(target: Target, seed: int, numbers: range) -> collections.Counter[str]:
    """Feed inputs to a target; how often each outcome came. Raises SystemExit at a finding."""
    outcomes: collections.Counter[str] = collections.Counter()
    for number in numbers:
        data = damaged(random.Random(f"{seed}/{target.name}/{number}"), target)
        began = time.process_time()
        try:
            target.read(data)
            outcomes["read"] += 1
        except REFUSALS as error:
            outcomes[type(error).__name__] += 1
        except BaseException:  # noqa: BLE001  whatever it is, it is a finding
            _report(target, seed, number, data, traceback.format_exc())
        if time.process_time() - began > SLOW_S:
            _report(target, seed, number, data, f"took more than {SLOW_S} s")
    return outcomes


def _report(target: Target, seed: int, number: int, data: bytes, what: str) -> None:
    kept = Path(f"finding-{target.name}-{seed}-{number}.bin")
    kept.write_bytes(data)
    sys.exit(f"FINDING in {target.name}, seed {seed}, input {number} (kept as {kept}):\n{what}")


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=INPUTS, help="over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[target.name for target in TARGETS])
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    chosen = parser.parse_args()
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM_NBYTES, held + ROOM_NBYTES))
    targets = [target for target in TARGETS if chosen.only in {None, target.name}]
    each = -(-chosen.inputs // len(targets))
    rows = []
    for target in targets:
        began = time.process_time()
        outcomes = run(target, chosen.seed, range(chosen.first, chosen.first + each))
        read = outcomes.pop("read", 0)
        refused = ", ".join(f"{name} {count:,}" for name, count in outcomes.most_common())
        pace = f"{each / (time.process_time() - began):,.0f}"
        rows.append([target.name, f"{each:,}", f"{read:,}", refused, pace])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    headers = ["what reads them", "inputs", "read", "refused", "per CPU second"]
    print_table("hostile inputs", headers, rows, f"No finding. Peak {peak} MiB.")


if __name__ == "__main__":
    main()
