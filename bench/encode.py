"""Time from the commit to fully encoded, for a base and a fine-tune of it."""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import zstandard

from bench.corpus import NAMESPACE
from bench.hub import LiveHub, wait_until, workspace
from bench.report import mb, median, print_table, ratio
from bench.synthetic import cached


@dataclass(frozen=True)
class Encoded:
    """One model: seconds of the upload, from there to encoded, to idle, and bytes it came to."""

    upload_s: float
    encoded_s: float
    idle_s: float
    stored_nbytes: int


def encode_once(folders: dict[str, Path], directory: Path) -> dict[str, Encoded]:
    """Upload the models one after the other to a fresh hub, each when the hub is idle."""
    measured = {}
    with LiveHub(directory) as hub:
        client, before = hub.client(), 0
        for name, folder in folders.items():
            upload = client.upload(f"{NAMESPACE}/{name}", folder)
            committed = time.perf_counter()
            wait_until(hub.is_encoded, timeout_s=3600)
            encoded_s = time.perf_counter() - committed
            wait_until(hub.is_idle, timeout_s=3600)
            idle_s = time.perf_counter() - committed
            hub.collect()
            stored = hub.stats()["stored_bytes"]
            measured[name] = Encoded(upload.seconds, encoded_s, idle_s, stored - before)
            before = stored
    return measured


def zstd_seconds(path: Path) -> float:
    """The yardstick: zstd-3 over the same bytes on one thread, no reads or writes."""
    content = path.read_bytes()
    started = time.perf_counter()
    zstandard.ZstdCompressor(level=3).compress(content)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.encode", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="128 MB instead of 1 GB, one round")
    arguments = parser.parse_args()
    nbytes, rounds = (128 << 20, 1) if arguments.quick else (1 << 30, 3)
    cache = Path.home() / ".cache" / "clade" / "bench"
    folders = {
        "base": cached(nbytes, cache),
        "fine-tune": cached(nbytes, cache, finetune=1, base=f"{NAMESPACE}/base"),
    }
    results = []
    with workspace() as directory:
        for number in range(rounds):
            yardstick = zstd_seconds(folders["base"] / "model.safetensors")
            results.append((yardstick, encode_once(folders, directory / str(number))))
    rows = []
    for name, folder in folders.items():
        size = (folder / "model.safetensors").stat().st_size
        runs = [measured[name] for _, measured in results]
        encoded = median(run.encoded_s for run in runs)
        share = median(measured[name].encoded_s / yardstick for yardstick, measured in results)
        rows.append(
            [
                name,
                mb(size),
                f"{median(run.upload_s for run in runs):.1f}",
                f"{encoded:.1f}",
                f"{size / encoded / 1e6:.0f}",
                f"{share:.2f}",
                f"{median(run.idle_s for run in runs):.1f}",
                ratio(runs[0].stored_nbytes, size),
            ]
        )
    print_table(
        f"from the commit to encoded, checked and swapped ({rounds} rounds, medians)",
        ["model", "MB", "upload s", "encoded s", "MB/s", "/ zstd-3", "idle s", "stored/logical"],
        rows,
        "/ zstd-3: time beside zstd-3 on one thread, memory to memory, nothing read or checked.\n"
        "idle: bases reconsidered and families measured too.",
    )


if __name__ == "__main__":
    main()
