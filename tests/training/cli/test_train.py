"""`clade train` as a user runs it: jobs together, whole models, crashes, a hub."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from app.settings import Settings
from tests.fixtures.command import Clade
from tests.fixtures.model_repos import ModelRepos, family_base, serving_models
from tests.fixtures.training import Workshop
from training.jobs import export
from training.jobs.track import Track

JOB = '[[jobs]]\nname = "{name}"\ndata = "{data}"\nsteps = {steps}\nbatch_size = 3\n'
ADAPTER = "[jobs.adapter]\nr = {r}\ndropout = 0.1\n[jobs.optimizer]\nlr = {lr}\n"
ZENFLOW = (
    '[jobs.optimizer]\nkind = "zenflow"\nlr = 1e-3\n'
    "zenflow = {topk_ratio = 0.25, update_interval = 2, select_interval = 4}\n"
)


def lora(name: str, data: str = "sums.jsonl", steps: int = 7, r: int = 2, lr: str = "1e-2") -> str:
    return JOB.format(name=name, data=data, steps=steps) + ADAPTER.format(r=r, lr=lr)


def zenflow(steps: int = 11) -> str:
    return JOB.format(name="whole", data="sums.jsonl", steps=steps) + ZENFLOW


@pytest.fixture
def train(clade: Clade, tmp_path: Path) -> Callable:
    def run(file: Path, *options: str):
        return clade("train", file, "--cache", tmp_path / "cache", *options)

    return run


class PowerCut(BaseException):
    """Nothing is saved after it."""


@pytest.fixture
def cut_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the power go when a job has taken so many steps."""

    def cut(step: int) -> None:
        took = Track.took

        def until(self: Track, *arguments) -> None:
            took(self, *arguments)
            if self.num_steps == step:
                monkeypatch.setattr(Track, "took", took)
                raise PowerCut

        monkeypatch.setattr(Track, "took", until)

    return cut


def adapter(home: Path, output: str, name: str) -> dict[str, torch.Tensor]:
    return load_file(home / output / name / "adapter" / "adapter_model.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_jobs_train_together_and_come_out_as_adapters(
    workshop: Workshop, train: Callable, layout: str
) -> None:
    jobs = lora("small") + "\n" + lora("large", "more.jsonl", 9, 4)
    jobs = jobs.replace(
        'data = "more.jsonl"', 'data = "more.jsonl"\nvalidation = "sums.jsonl"\neval_every = 3'
    )
    done = train(workshop.file(jobs, top=f'layout = "{layout}"'), "--json")
    assert done.status == 0, done.err
    small, large = done.facts
    assert (small["status"], small["steps"], large["steps"]) == ("succeeded", 7, 9)
    assert "small: step 7/7 loss" in done.err
    for each in (small, large):
        directory = Path(each["directories"]["adapter"])
        assert directory == workshop.home / "out" / each["name"] / "adapter"
        assert (directory / "curve.png").read_bytes().startswith(b"\x89PNG")
        rows = [json.loads(line) for line in (directory / "curve.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "loss" in row] == list(range(1, each["steps"] + 1))
        told = [row["valid_loss"] for row in rows if "valid_loss" in row]
        assert len(told) == (3 if each["name"] == "large" else 0)
        assert told == sorted(told, reverse=True), "the held-out loss falls"
        card = (directory / "README.md").read_text()
        assert "sha256" in card
        assert "12 (chat)" in card
        peft = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(workshop.base()), directory
        )
        assert peft.peft_config["default"].r == (2 if each["name"] == "small" else 4)


def test_together_is_alone_and_a_poisoned_job_harms_itself_alone(
    workshop: Workshop, train: Callable
) -> None:
    alone = train(workshop.file(lora("good"), output="alone"))
    assert alone.status == 0, alone.err
    bad = lora("bad", lr="1e38").replace("[jobs.adapter]", "weird = 1\n[jobs.adapter]")
    refused = train(workshop.file(lora("good") + bad, output="both"))
    assert "jobs[1].weird" in refused.complaint
    done = train(workshop.file(lora("good") + lora("bad", lr="1e38"), output="both"), "--json")
    assert done.status == 1
    good, bad = done.facts
    assert (good["status"], bad["status"]) == ("succeeded", "failed")
    assert "3 steps in a row could not be used" in bad["why"]
    theirs, ours = adapter(workshop.home, "alone", "good"), adapter(workshop.home, "both", "good")
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", [2, 5, 7])
def test_lora_goes_on_after_a_power_cut_bit_for_bit(
    workshop: Workshop, train: Callable, cut_at: Callable, step: int
) -> None:
    assert train(workshop.file(lora("a"), output="whole")).status == 0
    cut_at(step)
    with pytest.raises(PowerCut):
        train(workshop.file(lora("a"), output="cut"))
    again = train(workshop.file(lora("a"), output="cut"), "--json")
    assert again.facts[0]["steps"] == 7
    assert same(adapter(workshop.home, "whole", "a"), adapter(workshop.home, "cut", "a"))


@pytest.mark.parametrize("step", [4, 8])
def test_a_whole_model_goes_on_after_a_power_cut_bit_for_bit(
    workshop: Workshop, train: Callable, cut_at: Callable, step: int
) -> None:
    done = train(workshop.file(zenflow(), output="whole"), "--json")
    assert done.status == 0, done.err
    cut_at(step)
    with pytest.raises(PowerCut):
        train(workshop.file(zenflow(), output="cut"))
    assert train(workshop.file(zenflow(), output="cut")).status == 0
    models = [
        AutoModelForCausalLM.from_pretrained(workshop.home / output / "whole" / "model")
        for output in ("whole", "cut")
    ]
    base = AutoModelForCausalLM.from_pretrained(workshop.base()).state_dict()
    assert same(models[0].state_dict(), models[1].state_dict())
    assert not same(models[0].state_dict(), base)
    card = (workshop.home / "whole" / "whole" / "model" / "README.md").read_text()
    for told in ("bytes to the host", "optimizer's bytes on the host", "waited for the host"):
        assert told in card


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("jobs", "saved"), [(lora("a"), 5), (zenflow(), 6)])  # read a step late
def test_being_asked_to_stop_saves_the_step_that_ran(
    workshop: Workshop,
    train: Callable,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    jobs: str,
    saved: int,
) -> None:
    took = Track.took

    def interrupted(self: Track, *arguments) -> None:
        if self.num_steps == 4:
            monkeypatch.setattr(Track, "took", took)
            signal.raise_signal(number)
        took(self, *arguments)

    monkeypatch.setattr(Track, "took", interrupted)
    done = train(workshop.file(jobs))
    assert (done.status, done.err.splitlines()[-1]) == (
        130,
        "clade: interrupted; the same command goes on from here",
    )
    [checkpoints] = (workshop.home / "out").glob("*/checkpoints")
    assert f"step-{saved:08}.safetensors" in {path.name for path in checkpoints.iterdir()}
    assert train(workshop.file(jobs)).status == 0


def test_what_is_wrong_is_told_before_anything_is_trained(
    workshop: Workshop, train: Callable
) -> None:
    (workshop.home / "bad.jsonl").write_text('{"messages": [{"role": "user"}]}\n')
    told = train(workshop.file(lora("good") + lora("bad", "bad.jsonl")))
    assert told.status == 1
    assert "bad.jsonl cannot be trained on:\n  line 1, messages[0].content" in told.err
    assert "No such file" in train(workshop.file(lora("a", "missing.jsonl"))).err
    assert "neither a directory" in train(workshop.file(lora("a"), base="./nowhere")).complaint
    assert (
        "no linear layer is called 'q'"
        in train(
            workshop.file(lora("a").replace("r = 2", 'r = 2\ntarget_modules = ["q"]'))
        ).complaint
    )
    assert "has ranks" in train(workshop.file(lora("a", r=100))).complaint
    assert (
        "256 tokens"
        in train(
            workshop.file(lora("a").replace("batch_size", "max_seq_len = 9000\nbatch_size"))
        ).err
    )
    top = "memory_gb = 0.00001"
    assert "the base alone takes" in train(workshop.file(lora("a"), top=top)).complaint
    assert not (workshop.home / "out").exists()


def test_another_run_in_the_same_place_is_refused(workshop: Workshop, train: Callable) -> None:
    assert train(workshop.file(lora("a"))).status == 0
    before = adapter(workshop.home, "out", "a")
    assert "another run of a: adapter differ" in train(workshop.file(lora("a", r=3))).complaint
    workshop.data("sums.jsonl", count=9, seed=5)
    assert "another run of a: data differ" in train(workshop.file(lora("a"))).complaint
    assert same(adapter(workshop.home, "out", "a"), before)


def test_a_full_disk_at_the_end_keeps_the_checkpoints(
    workshop: Workshop, train: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(export, "save_adapter", full)
        told = train(workshop.file(lora("a"))).err.splitlines()[-1]
    assert "was not written: [Errno 28] No space left on device; checkpoints are whole" in told
    assert sorted(path.name for path in (workshop.home / "out" / "a").iterdir()) == ["checkpoints"]
    assert train(workshop.file(lora("a"))).status == 0


def test_check_tells_of_the_data_and_trains_nothing(workshop: Workshop, train: Callable) -> None:
    told = train(workshop.file(lora("a")), "--check", "--json")
    assert told.facts["examples"] == 12
    assert told.facts["steps"] == 7
    assert not (workshop.home / "out").exists()


@pytest.fixture
def hub(migrated_sqlite: bytes, tmp_path: Path) -> Iterator[tuple[ModelRepos, str]]:
    data = tmp_path / "hub"
    data.mkdir()
    (data / "hub.sqlite").write_bytes(migrated_sqlite)
    base = {"alice/base": family_base()}
    with serving_models(Settings(data=data), base) as (repos, url):
        yield repos, url


@pytest.mark.parametrize(
    ("form", "repos"),
    [
        ("adapter", {"adapter": "tuned"}),
        ("merged", {"merged": "tuned"}),
        ("both", {"adapter": "tuned", "merged": "tuned-merged"}),
    ],
)
def test_from_a_hub_and_back_to_it_with_the_base_as_parent(
    hub: tuple[ModelRepos, str],
    workshop: Workshop,
    train: Callable,
    form: str,
    repos: dict[str, str],
) -> None:
    models, url = hub
    where = f'[jobs.publish]\nrepo = "alice/tuned"\nform = "{form}"\n'
    file = workshop.file(lora("a") + where, base="alice/base")
    done = train(file, "--hub", url, "--token", "hf_alice", "--json")
    assert done.status == 0, done.err
    [told] = done.facts
    assert [each["url"] for each in told["published"]] == [
        f"{url}/alice/{name}" for name in repos.values()
    ]
    for directory in (Path(told["directories"][each]) for each in repos):
        head = (directory / "README.md").read_text().split("---\n")[1]
        assert yaml.safe_load(head)["base_model"] == "alice/base"
    models.models.run_jobs()
    if "merged" in repos:
        [pulled] = (workshop.home / "cache" / "training" / "bases" / "alice--base").iterdir()
        merged = Path(told["directories"]["merged"])
        base, tuned = map(AutoModelForCausalLM.from_pretrained, (pulled, merged))
        ours, theirs = tuned.state_dict(), base.state_dict()
        changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
        assert changed
        assert all("proj" in name for name in changed)


def test_no_rights_lose_nothing(
    hub: tuple[ModelRepos, str], workshop: Workshop, train: Callable
) -> None:
    where = '[jobs.publish]\nrepo = "bob/tuned"\n'
    file = workshop.file(lora("a") + where, base="alice/base")
    told = train(file, "--hub", hub[1], "--token", "hf_alice")
    assert told.status == 1
    assert "bob/tuned was not published" in told.err
    assert adapter(workshop.home, "out", "a")
    assert (
        "alice/nothing"
        in train(workshop.file(lora("a"), base="alice/nothing", output="x"), "--hub", hub[1]).err
    )
