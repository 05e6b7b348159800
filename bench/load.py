"""Time and bytes until a model can answer: files on disk, hf download, and ours in three ways.

A real hub in a process of its own serves a base and a fine-tune of it (BF16, random, Llama's
shape). Every way ends with one token generated. Each round starts from empty caches.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import torch
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from bench.report import interleaved, mb, median, print_table
from serving.weights.hub_models import HubModels

BASE, TUNED = "clade/load-base", "clade/load-tuned"
PORT = 18_733


@dataclass(frozen=True)
class Ready:
    """How long it took, and body bytes received."""

    wall_s: float
    cpu_s: float
    wire_nbytes: int


def llama(hidden: int, layers: int) -> PreTrainedModel:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=8192,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 128,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def tune(model: PreTrainedModel) -> None:
    """Move every weight a little, as training at a small rate does."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_((weight.abs().mean() * 0.004 * torch.randn(weight.shape)).to(weight))


@contextmanager
def hub(directory: Path) -> Iterator[tuple[str, str]]:
    """A hub of its own; its address and a token."""
    command = [str(Path(sys.executable).parent / "clade")]
    data = directory / "hub"
    serve = [*command, "serve", "--data", str(data), "--port", str(PORT)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(serve, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{PORT}"
    try:
        while True:
            try:
                httpx.get(f"{url}/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield url, (data / "token").read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def push(url: str, token: str, directory: Path, hidden: int, layers: int) -> int:
    """Both models, encoded; returns the bytes of the fine-tune's file."""
    api = HfApi(endpoint=url, token=token)
    model = llama(hidden, layers)
    for repo in (BASE, TUNED):
        model.save_pretrained(directory / repo)
        api.create_repo(repo)
        api.upload_folder(repo_id=repo, folder_path=directory / repo)
        tune(model)
    clade = [str(Path(sys.executable).parent / "clade")]
    subprocess.run([*clade, "jobs", "--wait", "--data", str(directory / "hub")], check=True)
    return (directory / TUNED / "model.safetensors").stat().st_size


def answer(model: PreTrainedModel) -> None:
    with torch.inference_mode():
        model(torch.tensor([[1, 2, 3]]))


def ready(work: Callable[[], int]) -> Ready:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    wire_nbytes = work()
    return Ready(time.perf_counter() - wall_s, time.process_time() - cpu_s, wire_nbytes)


def from_disk(directory: Path) -> int:
    answer(AutoModelForCausalLM.from_pretrained(directory / TUNED, dtype=torch.bfloat16))
    return 0


def hf_download(url: str, token: str, directory: Path) -> int:
    cache = Path(tempfile.mkdtemp(dir=directory))
    path = snapshot_download(TUNED, endpoint=url, token=token, cache_dir=cache)
    answer(AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16))
    nbytes = sum(file.stat().st_size for file in Path(path).iterdir())
    shutil.rmtree(cache)
    return nbytes


@contextmanager
def models(url: str, token: str, directory: Path) -> Iterator[HubModels]:
    cache = Path(tempfile.mkdtemp(dir=directory))
    with HubModels(url, token=token, cache=cache) as made:
        yield made
    shutil.rmtree(cache)


def load(hub_models: HubModels, repo: str) -> int:
    model, _, _, moved = hub_models.load(repo, "main", dtype=None, device="cpu")
    answer(model)
    return moved.wire_nbytes


def cold(url: str, token: str, directory: Path) -> Ready:
    with models(url, token, directory) as made:
        return ready(lambda: load(made, TUNED))


def base_cached(url: str, token: str, directory: Path) -> Ready:
    with models(url, token, directory) as made:
        load(made, BASE)
        return ready(lambda: load(made, TUNED))


def switched(url: str, token: str, directory: Path) -> Ready:
    with models(url, token, directory) as made:
        model, _, live, _ = made.load(BASE, "main", dtype=None, device="cpu")

        def switch() -> int:
            relative = made.stage(live, TUNED, "main")
            live.apply(relative.staged)
            answer(model)
            return relative.moved.wire_nbytes

        return ready(switch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a smaller model, once")
    options = parser.parse_args()
    if options.quick:
        options.layers, options.rounds = 2, 1
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with hub(directory) as (url, token):
            nbytes = push(url, token, directory, options.hidden, options.layers)
            runs = interleaved(
                options.rounds,
                {
                    "safetensors on disk": lambda: ready(lambda: from_disk(directory)),
                    "hf download, then load": lambda: ready(
                        lambda: hf_download(url, token, directory)
                    ),
                    "ours, cold": lambda: cold(url, token, directory),
                    "ours, base cached": lambda: base_cached(url, token, directory),
                    "ours, a switch": lambda: switched(url, token, directory),
                },
            )
    print_table(
        f"a fine-tune of {mb(nbytes)} MB, ready to answer",
        ["way", "wall s", "CPU s", "MB on the wire", "of the file"],
        [
            [
                name,
                f"{median(each.wall_s for each in timings):.2f}",
                f"{median(each.cpu_s for each in timings):.2f}",
                mb(median(each.wire_nbytes for each in timings)),
                f"{median(each.wire_nbytes for each in timings) / nbytes:.3f}",
            ]
            for name, timings in runs.items()
        ],
        "CPU seconds are those of the loading process, its hub's not counted.",
    )


if __name__ == "__main__":
    main()
