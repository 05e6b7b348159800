"""Upload and download of a 1 GB model with the real clients, beside the plainest servers."""

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.corpus import NAMESPACE, list_files
from bench.hub import Client, LiveHub, workspace
from bench.plain import serve_plain, serve_static
from bench.report import interleaved, mb, median, median_ratio, print_table, ratio
from bench.synthetic import cached

BASE, TUNED = f"{NAMESPACE}/base", f"{NAMESPACE}/tuned"


@dataclass(frozen=True)
class Measured:
    """One transfer: seconds, and for a pull the bytes that crossed the wire."""

    seconds: float
    wire_nbytes: int = 0
    peak_nbytes: int = 0


def measure_uploads(weights: Path, directory: Path, rounds: int) -> None:
    """Upload to a fresh server each time; print time ratios to the sink of the same lane."""

    def sink(lane: str) -> Measured:
        with serve_plain(directory / "sink") as plain:
            client = Client(plain.url, "hf_plain", fresh(directory / "home"))
            seconds = client.upload(BASE, weights, lane).seconds
        shutil.rmtree(directory / "sink")
        return Measured(seconds)

    def clade(lane: str) -> Measured:
        with LiveHub(fresh(directory / "hub")) as hub:
            hub.reset_peak()
            seconds = hub.client().upload(BASE, weights, lane).seconds
            return Measured(seconds, peak_nbytes=hub.peak_nbytes())

    contenders: dict[str, Callable[[], Measured]] = {
        "plain sink, LFS": lambda: sink("lfs"),
        "clade, LFS": lambda: clade("lfs"),
        "plain sink, Xet": lambda: sink("xet"),
        "clade, Xet": lambda: clade("xet"),
    }
    results = interleaved(rounds, contenders)
    peer = [done.seconds for done in results["plain sink, LFS"]]
    same_lane = {name: results[f"plain sink, {name.rsplit(' ', 1)[-1]}"] for name in results}
    nbytes = weights.stat().st_size
    rows = []
    for name, done in results.items():
        seconds = [one.seconds for one in done]
        rows.append(
            [
                name,
                f"{median(seconds):.1f}",
                f"{nbytes / median(seconds) / 1e6:.0f}",
                f"{median_ratio(peer, seconds):.2f}",
                f"{median_ratio([one.seconds for one in same_lane[name]], seconds):.2f}",
                mb(max(one.peak_nbytes for one in done)) if done[0].peak_nbytes else "",
            ]
        )
    print_table(
        f"hf upload of {mb(nbytes)} MB, {rounds} rounds, medians",
        ["server", "s", "MB/s", "speed / LFS sink", "speed / sink of its lane", "peak RSS MB"],
        rows,
        "The sinks only write to the page cache; clade parses, digests, syncs and reads back.",
    )


def measure_downloads(folders: dict[str, Path], directory: Path, rounds: int) -> None:
    """Download a plane-coded base and a delta-coded fine-tune; print ratios to static serving."""
    places = {f"{NAMESPACE}/{name}": folder for name, folder in folders.items()}
    with (
        serve_static(directory, places) as static_url,
        serve_plain(directory / "sink", places, static_url) as plain,
        LiveHub(fresh(directory / "hub")) as hub,
    ):
        for repo, folder in places.items():
            hub.client().upload(repo, folder)
        hub.settle()
        hub.collect()

        def download(url: str, repo: str) -> Measured:
            client = Client(url, hub.client().token, fresh(directory / "home"))
            copy = fresh(directory / "copy")
            done = client.download(repo, copy)
            check(copy, places[repo])
            return Measured(done.seconds)

        def pull(repo: str, *, with_base: bool) -> Measured:
            client = Client(hub.url, hub.client().token, fresh(directory / "home"))
            if with_base:
                client.pull(BASE, fresh(directory / "base"))
            copy = fresh(directory / "copy")
            done, facts = client.pull(repo, copy)
            check(copy, places[repo])
            return Measured(done.seconds, facts["wire_nbytes"])

        static = "static server, hf download"
        contenders: dict[str, Callable[[], Measured]] = {
            static: lambda: download(plain.url, BASE),
            "clade, hf download, base (plane-coded)": lambda: download(hub.url, BASE),
            "clade, hf download, fine-tune (delta)": lambda: download(hub.url, TUNED),
            "clade pull, base": lambda: pull(BASE, with_base=False),
            "clade pull, fine-tune, base at hand": lambda: pull(TUNED, with_base=True),
            "clade pull, fine-tune and its base": lambda: pull(TUNED, with_base=False),
        }
        hub.reset_peak()
        results = interleaved(rounds, contenders)
        peak = hub.peak_nbytes()
    peer = [done.seconds for done in results[static]]
    nbytes = (folders["base"] / "model.safetensors").stat().st_size
    rows = []
    for name, done in results.items():
        seconds = [one.seconds for one in done]
        wire = done[0].wire_nbytes or nbytes
        rows.append(
            [
                name,
                f"{median(seconds):.1f}",
                f"{nbytes / median(seconds) / 1e6:.0f}",
                f"{median_ratio(peer, seconds):.2f}",
                ratio(wire, nbytes),
            ]
        )
    print_table(
        f"download of {mb(nbytes)} MB, {rounds} rounds, medians",
        ["server and client", "s", "MB/s", "speed / static", "wire bytes / file"],
        rows,
        f"static server: {'nginx' if static_url else 'sendfile'}. Peak RSS of clade serve: "
        f"{mb(peak)} MB. Every copy is compared by sha256.",
    )


def check(copy: Path, original: Path) -> None:
    """Every file of the original is in the copy, byte for byte."""
    missing = set(list_files(original)) - set(list_files(copy))
    assert not missing, f"differs: {sorted(file.path for file in missing)}"


def fresh(directory: Path) -> Path:
    """The path with nothing left there from before."""
    shutil.rmtree(directory, ignore_errors=True)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="128 MB instead of 1 GB, one round")
    arguments = parser.parse_args()
    nbytes, rounds = (128 << 20, 1) if arguments.quick else (1 << 30, 3)
    cache = Path.home() / ".cache" / "clade" / "bench"
    folders = {
        "base": cached(nbytes, cache),
        "tuned": cached(nbytes, cache, finetune=1, base=BASE),
    }
    with workspace() as directory:
        measure_uploads(folders["base"] / "model.safetensors", directory, rounds)
        measure_downloads(folders, directory, rounds)


if __name__ == "__main__":
    main()
