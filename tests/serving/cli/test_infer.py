"""`clade infer` as a user starts it: from a hub, asked, switched, extended by adapters."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import typer
from typer.testing import CliRunner

from app.settings import Settings
from serving.cli import chat, infer
from serving.cli.assemble import Options, assemble
from serving.cli.infer import nbytes_of
from serving.weights.hub_models import HubModels
from tests.fixtures.adapters import save_adapter
from tests.fixtures.inference import serving
from tests.fixtures.model_repos import family_base, fine_tune, serving_models
from tests.fixtures.services import free_port

CLADE = str(Path(sys.executable).parent / "clade")


@dataclass
class Running:
    url: str
    hub_url: str


@pytest.fixture(scope="module")
def hub_url(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("hub")
    (data / "hub.sqlite").write_bytes(migrated_sqlite)
    base = family_base()
    family = {"alice/base": base, "alice/tuned": fine_tune(base, 1)}
    with serving_models(Settings(data=data), family) as (repos, url):
        with tempfile.TemporaryDirectory() as directory:
            save_adapter(base, Path(directory), 2, r=4, target_modules=["q_proj"])
            repos.push_folder("alice/adapter", Path(directory))
        yield url


@pytest.fixture(scope="module")
def running(hub_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = Options(
        kv_nbytes=8 << 20,
        max_num_seqs=8,
        max_num_batched_tokens=64,
        cache=tmp_path_factory.mktemp("cache"),
    )
    with (
        HubModels(hub_url, token=None, cache=options.cache) as models,
        serving(assemble("alice/base", options, models)) as server,
    ):
        yield Running(server.url, hub_url)
        assert server.settled()


def ask(running: Running, model: str) -> str:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client:
        done = client.completions.create(model=model, prompt="hello", max_tokens=8, temperature=0)
    return done.choices[0].text


def test_adapters_then_a_switch_there_and_back(running: Running) -> None:
    before = ask(running, "alice/base")
    with httpx.Client(base_url=running.url, timeout=60) as http:
        loaded = http.post(
            "/v1/load_lora_adapter", json={"lora_name": "mine", "lora_path": "alice/adapter"}
        )
        assert loaded.status_code == 200, loaded.text
        cards = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
        assert cards["mine"]["parent"] == "alice/base"
        assert ask(running, "mine") != before

        moved = http.post("/v1/switch", json={"model": "alice/tuned"}).json()
        assert moved["model"] == "alice/tuned"
        assert 'vllm:num_requests_running{model_name="alice/tuned"}' in http.get("/metrics").text
        assert 0 < moved["wire_nbytes"] < moved["tensor_nbytes"]
        for gone in ("alice/base", "mine"):
            with pytest.raises(openai.NotFoundError):
                ask(running, gone)
        after = ask(running, "alice/tuned")
        http.post("/v1/switch", json={"model": "alice/base"}).raise_for_status()
        assert ask(running, "alice/base") == before

        for wrong, status in (({"model": "alice/none"}, 404), ({"model": "alice/adapter"}, 400)):
            answer = http.post("/v1/switch", json=wrong)
            assert answer.status_code == status, answer.text
        assert http.get("/health").status_code == 200
    assert isinstance(after, str)


def test_a_switch_waits_for_what_has_begun(running: Running) -> None:
    long = {"model": "alice/base", "prompt": "begun", "max_tokens": 120, "temperature": 0}
    long["extra_body"] = {"ignore_eos": True}
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client:
        before = client.completions.create(**long).choices[0].text
        streamed = client.completions.create(**long, stream=True)
        first = next(iter(streamed))
        switched = httpx.post(f"{running.url}/v1/switch", json={"model": "alice/tuned"}, timeout=60)
        assert switched.status_code == 200
        text = first.choices[0].text + "".join(chunk.choices[0].text for chunk in streamed)
    assert text == before, "finished by the weights that began it"
    assert ask(running, "alice/tuned")
    httpx.post(f"{running.url}/v1/switch", json={"model": "alice/base"}, timeout=60)
    assert ask(running, "alice/base")


def test_unloading(running: Running) -> None:
    with httpx.Client(base_url=running.url, timeout=60) as http:
        named = {"lora_name": "other", "lora_path": "alice/adapter@main"}
        http.post("/v1/load_lora_adapter", json=named).raise_for_status()
        http.post("/v1/unload_lora_adapter", json={"lora_name": "other"}).raise_for_status()
        again = http.post("/v1/unload_lora_adapter", json={"lora_name": "other"})
        assert again.status_code == 404
        bad = http.post(
            "/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": "alice/tuned"}
        )
        assert bad.status_code == 400
        assert "it has no adapter_config.json" in bad.json()["error"]["message"]


def test_chat_streams(running: Running) -> None:
    with httpx.Client(base_url=running.url, timeout=60) as http:
        model = chat.first_model(http)
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 6}
        assert model == "alice/base"
        assert "".join(chat.stream(http, body | {"temperature": 0}))
        with pytest.raises(chat.ChatFailed, match="does not exist"):
            list(chat.stream(http, body | {"model": "none"}))


def test_chat_command(running: Running) -> None:
    done = command(chat.chat, running.url, "--max-tokens", "5", "--seed", "1", said="Hi\nAnd\n")

    assert done.exit_code == 0, done.output
    assert done.stdout.count("›") == 3
    assert len(done.stdout) > 40


def test_a_chat_with_nobody_says_so() -> None:
    done = command(chat.chat, f"http://127.0.0.1:{free_port()}")

    assert done.exit_code == 1
    assert "nothing answers at http://127.0.0.1" in done.stderr


def test_a_chat_outlives_an_answer_that_is_refused(running: Running) -> None:
    said = f"{'x' * 400}\nHi\n"
    done = command(chat.chat, running.url, "--max-tokens", "5", "--seed", "1", said=said)

    assert done.exit_code == 0, done.output
    assert "prompt" in done.stdout
    assert done.stdout.count("›") == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["alice/none"], "not found"),
        (["alice/base", "--policy", "best"], "no policy"),
        (["alice/base", "--policy", "sjf-oracle"], "sjf goes by predictions"),
        (["alice/base", "--hub", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["alice/base", "--kv-memory", "lots"], "amount of memory"),
        (["alice/base", "--kv-memory", "1"], "block"),
    ],
)
def test_bad_starts_are_one_line(
    hub_url: str, tmp_path: Path, arguments: list[str], word: str
) -> None:
    done = command(infer.infer, "--hub", hub_url, "--cache", str(tmp_path), *arguments)

    assert done.exit_code == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("clade: ")
    assert word in last.lower()


def command(function, *arguments: str, said: str = ""):
    app = typer.Typer()
    app.command()(function)
    return CliRunner().invoke(app, arguments, input=said)


@pytest.mark.clients
def test_as_a_process(hub_url: str, tmp_path: Path) -> None:
    """Started as users do, asked, and ended by Ctrl-C."""
    port = free_port()
    arguments = ["alice/base", "--hub", hub_url, "--port", str(port), "--kv-memory", "8M"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [CLADE, "infer", *arguments, "--cache", str(tmp_path), "--threads", "1"],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    _wait(process, url, tmp_path / "log")
    assert ask(Running(url, hub_url), "alice/base")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, (tmp_path / "log").read_text()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("text", "nbytes"), [("1", 1), ("2K", 2048), ("1.5G", 3 << 29), ("8MiB", 8 << 20)]
)
def test_amounts_of_memory(text: str, nbytes: int) -> None:
    assert nbytes_of(text) == nbytes
    with pytest.raises(ValueError, match="amount"):
        nbytes_of(text + "x")
