"""Stored bytes per logical byte on the demo corpus, ours as the bucket of a live hub holds them."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import peers
from bench.corpus import NAMESPACE, Corpus, ensure
from bench.hub import LiveHub, workspace
from bench.report import mb, print_table, ratio

OURS = "clade"


def ours(corpus: Corpus, directory: Path) -> int:
    """Push the corpus to a hub, let it settle, and ask what its bucket holds."""
    with LiveHub(directory / "hub") as hub:
        client = hub.client()
        for repo in corpus.repos:
            client.upload(f"{NAMESPACE}/{repo.name}", corpus.folder(repo))
        hub.settle()
        hub.collect()
        return hub.stats()["stored_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.stored", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the base and three fine-tunes")
    parser.add_argument("--corpus", type=Path, help="directory of the corpus")
    arguments = parser.parse_args()
    corpus = ensure(arguments.corpus)
    if arguments.quick:
        names = {"minilm", "minilm-docs", "minilm-lora", "minilm-head"}
        chosen = tuple(repo for repo in corpus.repos if repo.name in names)
        corpus = Corpus(corpus.directory, chosen)
    with workspace() as directory:
        contenders: dict[str, Callable[[], int]] = {
            "files as they are": lambda: corpus.nbytes,
            "whole-file dedup": lambda: peers.whole_files(corpus),
            "Xet (hf-xet, bytes of its xorbs)": lambda: peers.xet(corpus, directory),
            "64 KiB chunk dedup + zstd-3": lambda: peers.chunked(corpus),
            "ZipNN per file": lambda: peers.zipnn_per_file(corpus),
            "XOR + zstd-3, right base (BitX)": lambda: peers.bitx(corpus),
            "tensor dedup + BitX + ZipNN (ZipLLM)": lambda: peers.zipllm(corpus),
            OURS: lambda: ours(corpus, directory),
        }
        stored = {name: measure() for name, measure in contenders.items()}
    best_peer = min(nbytes for name, nbytes in stored.items() if name != OURS)
    print_table(
        f"stored / logical on {len(corpus.repos)} real models",
        ["store", "MB", "stored/logical", "clade is × of it"],
        [
            [name, mb(nbytes), ratio(nbytes, corpus.nbytes), ratio(stored[OURS], nbytes)]
            for name, nbytes in stored.items()
        ],
        "clade: the sum over its bucket, metadata of files included, database not.",
    )
    if stored[OURS] >= best_peer:
        sys.exit("clade does not store the fewest bytes")


if __name__ == "__main__":
    main()
