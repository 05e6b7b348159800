"""The whole story on real weights: push a family with `hf upload`, see what it cost, pull it back.

Ends with exit status 0 only if every file came back with the sha256 it went in with.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.corpus import NAMESPACE, Corpus, CorpusFile, CorpusRepo, ensure, list_files
from bench.hub import Client, LiveHub, workspace
from bench.report import mb, print_table, ratio

PULLED = "minilm-docs"
CAUSES = ("file_dedup", "tensor_dedup", "delta", "coding")


def push(corpus: Corpus, hub: LiveHub, client: Client) -> None:
    """Upload every repository with the stock client, then wait for the background jobs."""
    print(f"\n$ export HF_ENDPOINT={hub.url} HF_TOKEN=…", flush=True)
    for repo in corpus.repos:
        name = f"{NAMESPACE}/{repo.name}"
        done = client.upload(name, corpus.folder(repo))
        print(f"$ hf upload {name} {repo.name}/  # {mb(repo.nbytes)} MB in {done.seconds:.1f} s")
    started = time.perf_counter()
    hub.settle()
    print(f"$ clade jobs --wait  # encoded after {time.perf_counter() - started:.1f} s more")
    retired = hub.stats()["overhead"]["retired"]
    hub.collect()
    print(f"$ clade gc --now  # {mb(retired)} MB of replaced uploads, else kept a day, are gone")


def show_models(corpus: Corpus, hub: LiveHub) -> None:
    """Per model: logical and stored bytes, and what saved the difference."""
    rows = []
    for repo in corpus.repos:
        report = hub.get(f"/api/clade/models/{NAMESPACE}/{repo.name}/storage/main")
        logical, stored = report["logical_bytes"], report["stored_bytes"]
        saved = (mb(report["saved"][cause]) for cause in CAUSES)
        rows.append([repo.name, mb(logical), mb(stored), ratio(stored, logical), *saved])
    print_table(
        "models, MB",
        ["model", "logical", "stored", "ratio", *(cause.replace("_", " ") for cause in CAUSES)],
        rows,
        "What a model shares with an earlier one is counted there.",
    )


def show_totals(hub: LiveHub) -> tuple[int, int]:
    """Where the bytes went; the logical and the stored bytes of the hub."""
    stats = hub.get("/api/clade/stats")
    logical, stored = stats["logical_bytes"], stats["stored_bytes"]
    rows = [["what users see", mb(logical), "1.000"]]
    for cause, nbytes in stats["saved"].items():
        rows.append([f"- saved by {cause.replace('_', ' ')}", mb(nbytes), ratio(nbytes, logical)])
    overhead = sum(stats["overhead"].values())
    rows.append(["+ overhead", mb(overhead), ratio(overhead, logical)])
    rows.append(["= what the bucket holds", mb(stored), ratio(stored, logical)])
    parts = ", ".join(f"{cause} {mb(nbytes)}" for cause, nbytes in stats["overhead"].items())
    note = f"overhead: what lies there beyond the files ({parts} MB); see docs/glossary.md."
    print_table("the hub", ["bytes", "MB", "of logical"], rows, note)
    assert stored == logical - sum(stats["saved"].values()) + overhead, "bytes are unaccounted for"
    return logical, stored


def show_families(hub: LiveHub) -> None:
    """The families as trees of measured parents, beside what the cards declare."""
    for family in hub.get("/api/clade/families")["families"]:
        members = hub.get(f"/api/clade/families/{family['id']}")["members"]
        children: dict[str | None, list[dict]] = {}
        for member in members:
            children.setdefault(member["measured_parent"], []).append(member)
        rows = [
            [
                "   " * depth + member["id"],
                "" if member["bit_distance"] is None else f"{member['bit_distance']:.2f}",
                member["declared_base"] or "-",
                {True: "yes", False: "no", None: "-"}[member["agrees"]],
            ]
            for depth, member in walk(children, None, 0)
        ]
        print_table(
            f"family of {family['root']}",
            ["model, below its measured parent", "bits that differ", "card says", "agrees"],
            rows,
        )


def walk(
    children: dict[str | None, list[dict]], parent: str | None, depth: int
) -> Iterator[tuple[int, dict]]:
    """Members in tree order with their depth."""
    for member in children.get(parent, ()):
        yield depth, member
        yield from walk(children, member["id"], depth + 1)


def pull_back(corpus: Corpus, client: Client, directory: Path) -> list[str]:
    """Download everything with the stock client; the files that differ."""
    wrong = []
    for repo in corpus.repos:
        copy = directory / repo.name
        client.download(f"{NAMESPACE}/{repo.name}", copy)
        wrong += differing(repo, copy)
    files = sum(len(repo.files) for repo in corpus.repos)
    print(f"$ hf download …  # {files} files of {len(corpus.repos)} models, {len(wrong)} differ")
    return wrong


def pull_encoded(corpus: Corpus, client: Client, directory: Path) -> list[str]:
    """Pull a base and then its fine-tune as encoded tensors; the files that differ."""
    repos = {repo.name: repo for repo in corpus.repos}
    tuned = repos[PULLED]
    wrong = []
    for repo in (repos[tuned.base or PULLED], tuned):
        copy = directory / f"pulled-{repo.name}"
        done, facts = client.pull(f"{NAMESPACE}/{repo.name}", copy)
        wrong += differing(repo, copy)
        wire, disk = facts["wire_nbytes"], facts["disk_nbytes"]
        print(
            f"$ clade pull {NAMESPACE}/{repo.name}  # {mb(wire)} MB on the wire for "
            f"{mb(disk)} MB on disk ({ratio(wire, disk)}), {done.seconds:.1f} s"
        )
    return wrong


def differing(repo: CorpusRepo, copy: Path) -> list[str]:
    """Files of ``repo`` that are not in ``copy`` byte for byte."""
    found: set[CorpusFile] = set(list_files(copy))
    return [f"{repo.name}/{file.path}" for file in repo.files if file not in found]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--corpus", type=Path, help="directory of the corpus")
    corpus = ensure(parser.parse_args().corpus)
    with workspace() as directory, LiveHub(directory / "hub") as hub:
        client = hub.client()
        push(corpus, hub, client)
        show_models(corpus, hub)
        logical, stored = show_totals(hub)
        show_families(hub)
        wrong = pull_back(corpus, client, directory)
        wrong += pull_encoded(corpus, client, directory)
        hub.clade("fsck", "--deep")
        print("$ clade fsck --deep  # every stored byte read, decoded and digested")
    if wrong:
        sys.exit("these files came back different:\n" + "\n".join(wrong))
    print(
        f"\n{len(corpus.repos)} models, {mb(logical)} MB, stored in {mb(stored)} MB "
        f"({ratio(stored, logical)}); every file came back byte for byte."
    )


if __name__ == "__main__":
    main()
