"""Upload and download of a 1 GB model with the real clients, beside the plainest servers.

    python -m bench.transfer [--quick] [--json] [--rounds N] [--only uploads|downloads]

Sides take turns, in another order every round, and each upload goes to a server of its own that is
empty. Wall seconds on a machine that others use say little, so CPU seconds stand beside them.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.corpus import NAMESPACE
from bench.hub import Client, LiveHub, workspace
from bench.plain import serve_plain, serve_static
from bench.report import interleaved, mb
from bench.synthetic import cached
from bench.transfers import Aim, Transfer, check, compare, fresh, heading, timed

BASE, TUNED = f"{NAMESPACE}/base", f"{NAMESPACE}/tuned"

LFS_SINK, XET_SINK = "LFS sink", "Xet sink"
OURS_LFS, OURS_XET = "clade, LFS", "clade, Xet"
UPLOAD_AIMS = {
    OURS_LFS: Aim(LFS_SINK, least=0.5),
    OURS_XET: Aim(XET_SINK, least=0.8),
}

STATIC = "static"
PULLED_DELTA = "clade pull, fine-tune, base at hand"
DOWNLOAD_AIMS = {
    "hf download, base (PLANE)": Aim(STATIC, least=0.6),
    PULLED_DELTA: Aim(STATIC, most=0.45),
}


def measure_uploads(folders: dict[str, Path], directory: Path, rounds: int) -> dict[str, Any]:
    """Upload to a fresh server each time; speeds beside the sink of the same lane."""
    base, tuned = (folders[name] / "model.safetensors" for name in ("base", "tuned"))

    def sink(lane: str) -> Transfer:
        with serve_plain(fresh(directory / "sink")) as plain:
            client = Client(plain.url, "hf_plain", fresh(directory / "home"))
            return timed(plain, lambda: client.upload(BASE, base, lane))

    def clade(lane: str) -> Transfer:
        settings = {"jobs__threads": "0"}
        with LiveHub(fresh(directory / "hub"), settings) as hub:
            hub.reset_peak()
            done = timed(hub, lambda: hub.client().upload(BASE, base, lane))
            return replace(done, peak_nbytes=hub.peak_nbytes())

    def beside_jobs(lane: str) -> Transfer:
        with LiveHub(fresh(directory / "hub")) as hub:
            hub.client().upload(BASE, base, "lfs")
            hub.reset_peak()
            done = timed(hub, lambda: hub.client("second").upload(TUNED, tuned, lane))
            return replace(done, peak_nbytes=hub.peak_nbytes())

    contenders: dict[str, Callable[[], Transfer]] = {
        LFS_SINK: lambda: sink("lfs"),
        OURS_LFS: lambda: clade("lfs"),
        XET_SINK: lambda: sink("xet"),
        OURS_XET: lambda: clade("xet"),
        "clade, LFS, while it encodes": lambda: beside_jobs("lfs"),
        "clade, Xet, while it encodes": lambda: beside_jobs("xet"),
    }
    nbytes = base.stat().st_size
    base.read_bytes()  # into the page cache, for the first side as for all others
    return compare(
        heading("hf upload", nbytes, rounds),
        nbytes,
        interleaved(rounds, {name: rested(run) for name, run in contenders.items()}),
        (LFS_SINK, XET_SINK),
        UPLOAD_AIMS,
        "The sinks only write to the page cache; clade parses, digests, syncs and reads back. The "
        "last two rows include the encoding of an earlier upload in the same process.",
    )


def measure_downloads(folders: dict[str, Path], directory: Path, rounds: int) -> dict[str, Any]:
    """Download a plane-coded base and a delta-coded fine-tune; speeds beside static serving."""
    places = {f"{NAMESPACE}/{name}": folder for name, folder in folders.items()}
    with contextlib.ExitStack() as stack:
        static = stack.enter_context(serve_static(directory, places))
        plain = stack.enter_context(serve_plain(directory / "sink", places, static))
        hub = stack.enter_context(LiveHub(fresh(directory / "hub")))
        for repo, folder in places.items():
            hub.client().upload(repo, folder)
        hub.settle()
        hub.collect()

        def download(server: Any, repo: str) -> Transfer:
            client = Client(server.url, hub.client().token, fresh(directory / "home"))
            copy = fresh(directory / "copy")
            done = timed(server, lambda: client.download(repo, copy))
            check(copy, places[repo])
            return done

        def pull(repo: str, *, with_base: bool) -> Transfer:
            client = Client(hub.url, hub.client().token, fresh(directory / "home"))
            if with_base:
                client.pull(BASE, fresh(directory / "base"))
            copy = fresh(directory / "copy")
            wire: list[int] = []

            def run() -> Any:
                ran, facts = client.pull(repo, copy)
                wire.append(facts["wire_nbytes"])
                return ran

            done = timed(hub, run)
            check(copy, places[repo])
            return replace(done, wire_nbytes=wire[0])

        contenders: dict[str, Callable[[], Transfer]] = {
            STATIC: lambda: download(plain, BASE),
            "hf download, base (PLANE)": lambda: download(hub, BASE),
            "hf download, fine-tune (delta)": lambda: download(hub, TUNED),
            "clade pull, base": lambda: pull(BASE, with_base=False),
            PULLED_DELTA: lambda: pull(TUNED, with_base=True),
            "clade pull, fine-tune and its base": lambda: pull(TUNED, with_base=False),
        }
        hub.reset_peak()
        results = interleaved(rounds, {name: rested(run) for name, run in contenders.items()})
        peak = hub.peak_nbytes()
    nbytes = (folders["base"] / "model.safetensors").stat().st_size
    server = "nginx" if static else "sendfile(2) from Python"
    facts = compare(
        heading("download", nbytes, rounds),
        nbytes,
        results,
        (STATIC,),
        DOWNLOAD_AIMS,
        f"static: {server}, hf download. Peak RSS of clade serve: {mb(peak)} MB. Every copy is "
        "compared by sha256.",
    )
    return facts | {"peak_rss_mb": round(peak / 1e6)}


def rested(run: Callable[[], Transfer]) -> Callable[[], Transfer]:
    """The same, once what an earlier side wrote has reached the disk."""

    def after_rest() -> Transfer:
        os.sync()
        return run()

    return after_rest


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="128 MB instead of 1 GB, one round")
    parser.add_argument("--rounds", type=int, help="turns of each side (3; quick: 1)")
    parser.add_argument("--only", choices=("uploads", "downloads"))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    arguments = parser.parse_args()
    nbytes = (128 << 20) if arguments.quick else (1 << 30)
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    cache = Path.home() / ".cache" / "clade" / "bench"
    folders = {
        "base": cached(nbytes, cache),
        "tuned": cached(nbytes, cache, finetune=1, base=BASE),
    }
    measures = {"uploads": measure_uploads, "downloads": measure_downloads}
    facts: dict[str, Any] = {"nbytes": nbytes, "rounds": rounds, "load": os.getloadavg()}
    tables = contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout)
    with workspace() as directory, tables:
        for name, measure in measures.items():
            if arguments.only in {None, name}:
                facts[name] = measure(folders, directory, rounds)
    if arguments.json:
        print(json.dumps(facts))


if __name__ == "__main__":
    main()
