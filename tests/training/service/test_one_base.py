"""Jobs of one base, as their owner asks for them and a trainer does them."""

import csv
import io
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, snapshot_download
from openai.types.fine_tuning import FineTuningJob
from peft import PeftModel
from sqlalchemy import select
from sqlalchemy.orm import Session
from transformers import AutoModelForCausalLM

from app.accounts.quotas import Amounts, set_quota
from app.catalog.repos import delete_repo
from app.db.tables import AccessToken, Repo, TuningLease
from app.jobs.runner import drain
from app.tasks import HANDLERS
from client.hub import HubClient, RepoName
from tests.fixtures.disks import small_disk
from tests.fixtures.tuning import messages, x_hub
from tests.training.service.conftest import BASE, Service
from training.jobs.publish import Published
from training.jobs.track import Track
from training.jobs.workshop import Form
from training.lora.batch import Entry
from training.lora.job import LoraJob
from training.lora.trainer import FusedTrainer
from training.service import counter, desk, states
from training.service.one_base import BaseTrainer

Weights = Mapping[str, torch.Tensor]


def distance(ours: Weights, theirs: Weights) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def test_two_ranks_join_one_trainer_and_each_is_as_if_it_were_alone(any_service: Service) -> None:
    service = any_service
    sums, more = service.file("sums.jsonl"), service.file("more.jsonl", count=9, seed=1)
    wide = service.job(
        sums, seed=3, n_epochs=2, adapter={"r": 4, "dropout": 0.1}, publish={"form": "both"}
    )
    thin = service.job(more, seed=4, n_epochs=3, adapter={"r": 2}, optimizer={"lr": 1e-3})
    service.train()
    done = [service.now(job) for job in (wide, thin)]
    assert [job.status for job in done] == ["succeeded", "succeeded"], [job.error for job in done]
    alone = [
        service.alone("sums.jsonl", seed=3, epochs=2, adapter={"r": 4, "dropout": 0.1}),
        service.alone(
            "more.jsonl",
            seed=4,
            epochs=3,
            adapter={"r": 2},
            optimizer={"lr": 1e-3},
        ),
    ]
    for job, expected in zip((wide, thin), alone, strict=True):
        assert distance(service.adapter(job), expected) <= 1e-12
    told = messages(service.client, wide)
    assert told[2] == "Files validated, moving job to queued state"
    assert "12 examples of 308 tokens, 0 of them cut at 256 tokens; 6 steps" in told
    assert told[-2:] == [
        f"New fine-tuned model created: {x_hub(wide)['target']}",
        "The job has successfully completed",
    ]
    table = service.client.files.content(done[0].result_files[0]).text
    assert [row["step"] for row in csv.DictReader(io.StringIO(table))] == [*"123456"]
    assert done[0].fine_tuned_model == x_hub(wide)["target"]
    assert (done[0].trained_tokens or 0) > 500
    checkpoints = service.client.fine_tuning.jobs.checkpoints.list(wide.id).data
    assert [each.step_number for each in checkpoints] == [6]


def pulled(service: Service, repo: str) -> Path:
    to = service.shop.home / "pulled" / repo.replace("/", "-")
    return Path(snapshot_download(repo, endpoint=service.url, token="hf_alice", local_dir=to))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT asks in an old way
def test_results_load_with_stock_libraries_and_take_few_bytes(service: Service) -> None:
    job = service.job(
        service.file(), adapter={"target_modules": ["q_proj"]}, publish={"form": "both"}
    )
    service.train()
    drain(service.hub, HANDLERS)
    done = x_hub(service.now(job))["result"]
    adapter, merged = done["published"]
    assert [each["form"] for each in done["published"]] == ["adapter", "merged"]
    base = AutoModelForCausalLM.from_pretrained(service.shop.base())
    whole = AutoModelForCausalLM.from_pretrained(pulled(service, merged["repo"]))
    changed = {
        name
        for name, weight in whole.state_dict().items()
        if not torch.equal(weight, base.state_dict()[name])
    }
    assert changed
    assert all("q_proj" in name for name in changed)
    tokens = torch.tensor([[3, 5, 7, 11]])
    with torch.no_grad():
        fused = PeftModel.from_pretrained(base, pulled(service, adapter["repo"]))(tokens).logits
        merged_logits = whole(tokens).logits
    assert float((fused - merged_logits).abs().max()) <= 1e-3  # rounded once, in float32
    assert merged["is_settled"]
    assert 0 < merged["stored_nbytes"] < merged["logical_nbytes"]
    with HubClient(service.url, token="hf_alice") as hub:
        told = hub.storage(RepoName.parse(merged["repo"]), merged["commit"])
    [weights] = [each for each in told["files"] if each["path"] == "model.safetensors"]
    for part in weights["tensors"]:
        if part["role"] == "tensor" and "q_proj" not in part["name"]:
            assert (part["shared_with"], part["stored_bytes"]) == (BASE, 0)
    card = HfApi(endpoint=service.url, token="hf_alice").model_info(merged["repo"]).card_data
    assert card is not None
    assert card["base_model"] == BASE


def test_a_paused_job_goes_on_where_it_was_and_a_cancelled_one_is_gone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, take = service.client.fine_tuning.jobs, LoraJob.take
    file = service.file()
    paused = service.job(file, seed=1, n_epochs=2)
    cancelled = service.job(file, seed=2, n_epochs=2, checkpoint_every=1)

    def asked(job: LoraJob, *arguments: object) -> object:
        if job.num_steps == 2:
            (jobs.pause if job.name == paused.id else jobs.cancel)(job.name)
        return take(job, *arguments)  # type: ignore[arg-type]

    obey = BaseTrainer._obey

    def heard(trainer: BaseTrainer, *arguments: object) -> None:
        trainer._desk._send(trainer._desk.held)
        obey(trainer, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LoraJob, "take", asked)
        patch.setattr(BaseTrainer, "_obey", heard)
        service.train()
    waiting, gone = service.now(paused), service.now(cancelled)
    assert (waiting.status, gone.status) == ("paused", "cancelled")
    done = x_hub(waiting)["steps_done"]
    assert done == 3
    assert [each.step_number for each in jobs.checkpoints.list(paused.id)] == [done]
    api = HfApi(endpoint=service.url, token="hf_alice")
    assert not api.repo_exists(x_hub(cancelled)["target"])
    jobs.resume(paused.id)
    service.train()
    assert service.now(paused).status == "succeeded"
    assert f"Going on from the checkpoint of step {done}" in messages(service.client, paused)
    assert distance(service.adapter(paused), service.alone("sums.jsonl", seed=1, epochs=2)) <= 1e-6


def fault(service: Service, job: FineTuningJob) -> tuple[str, str | None, str]:
    now = service.now(job)
    assert now.status == "failed", now.status
    assert now.error is not None
    return now.error.code, now.error.param, now.error.message


def test_one_jobs_faults_are_told_and_do_not_touch_the_others(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = service.file()
    long = service.text_file('{"prompt": "%s", "completion": "b"}\n' % ("a" * 300), "long.jsonl")
    lines = '{"messages": [{"role": "user", "content": "a"}]}\n{"messages": [{"role": "x"}]}\n'
    bad = {
        "lines": service.job(service.text_file(lines)),
        "json": service.job(service.text_file('{"text": "a"}\n{"text"\n')),
        "mixed": service.client.fine_tuning.jobs.create(
            model=BASE, training_file=good, validation_file=long
        ),
        "rank": service.job(good, adapter={"r": 500}),
        "layer": service.job(good, adapter={"target_modules": ["nothing"]}),
        "long": service.job(long),
        "length": service.job(good, max_seq_len=9999),
        "template": service.job(good, chat_template="{{ raise_exception('no') }}"),
        "poison": service.job(good, optimizer={"lr": 1e38, "max_grad_norm": None}, steps=20),
        "broken": service.job(good, seed=66),
    }
    healthy = service.job(good, seed=7, n_epochs=2)
    gradients = FusedTrainer._gradients

    def broken(trainer: FusedTrainer, entries: Sequence[Entry], targets: dict[str, int]) -> object:
        if any(entry.job == bad["broken"].id for entry in entries):
            raise ValueError("something unforeseen")
        return gradients(trainer, entries, targets)

    monkeypatch.setattr(FusedTrainer, "_gradients", broken)
    service.train()
    told = {name: fault(service, job) for name, job in bad.items()}
    shown = {name: (code, param) for name, (code, param, _) in told.items()}
    data = ("invalid_file_format", "training_file")
    assert shown == {
        "lines": data,
        "json": data,
        "mixed": ("invalid_file_format", "validation_file"),
        "rank": ("invalid_hyperparameters", "x_hub.adapter"),
        "layer": ("invalid_hyperparameters", "x_hub.adapter"),
        "long": data,
        "length": ("invalid_hyperparameters", "x_hub"),
        "template": data,
        "poison": ("training_failed", None),
        "broken": ("training_failed", None),
    }
    said = {name: message for name, (_, _, message) in told.items()}
    assert "line 1, messages: has no assistant message" in said["lines"]
    assert "line 2, messages[0].content" in said["lines"]
    assert "bad.jsonl" in said["json"]
    assert "line 2: is not JSON" in said["json"]
    assert "choose at most" in said["rank"]
    assert "nothing to learn in its first 256 of" in said["long"]
    assert "positions for 256" in said["length"]
    assert "line 1, messages: the chat template refuses it" in said["template"]
    assert "steps in a row could not be used" in said["poison"]
    assert "something unforeseen" in said["broken"]
    assert service.now(healthy).status == "succeeded"
    alone = service.alone("sums.jsonl", seed=7, epochs=2)
    assert distance(service.adapter(healthy), alone) <= 1e-4


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_disk_that_is_full_at_a_checkpoint_costs_that_checkpoint(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, filled to its last byte while one job writes its state of one step."""
    file, write = service.file(), states.write_state
    full, other = (service.job(file, seed=n, n_epochs=2, checkpoint_every=2) for n in (1, 2))

    def on_a_full_disk(path: Path, step: int, *arguments: object) -> None:
        filler = path.parent / "filler"
        if full.id in path.name and step == 4:
            with suppress(OSError), filler.open("wb", buffering=0) as blocks:
                while blocks.write(bytes(4096)):
                    pass
        try:
            write(path, step, *arguments)  # type: ignore[arg-type]
        finally:
            filler.unlink(missing_ok=True)

    monkeypatch.setattr(states, "write_state", on_a_full_disk)
    with small_disk(service.options.cache, 4 << 20):
        service.train()
    assert [service.now(job).status for job in (full, other)] == ["succeeded", "succeeded"]
    told = messages(service.client, full)
    assert any("state of step 4 could not be kept" in each and "No space" in each for each in told)
    jobs = service.client.fine_tuning.jobs
    kept = [[s.step_number for s in jobs.checkpoints.list(j.id)] for j in (full, other)]
    assert kept == [[6, 2], [6, 4]]
    alone = service.alone("sums.jsonl", seed=2, epochs=2)
    assert distance(service.adapter(other), alone) <= 1e-4


@pytest.mark.parametrize("full", [False, True])
def test_too_little_memory_is_told_with_what_is_needed(service: Service, full: bool) -> None:
    first, second = (service.job(service.file(), method="full" if full else "lora") for _ in "ab")
    service.memory_gb = 1e-5
    service.train(full=full)
    if full:  # a process for each
        service.train(full=True)
    for job in (first, second):
        code, _, message = fault(service, job)
        assert code == "insufficient_memory"
        assert "memory_gb is 1e-05" in message
        assert "CLADE_TUNING__MEMORY_GB" in message


def test_jobs_go_on_when_their_base_is_renamed(service: Service) -> None:
    job = service.job(service.file())
    HfApi(endpoint=service.url, token="hf_alice").move_repo(BASE, "alice/renamed")
    service.train(base="alice/renamed")
    now = service.now(job)
    assert now.status == "succeeded", now.error
    card = HfApi(endpoint=service.url, token="hf_alice").model_info(x_hub(now)["target"]).card_data
    assert card is not None
    assert card["base_model"] == "alice/renamed"


def test_a_full_shelf_is_told_and_does_not_stop_a_job(service: Service) -> None:
    file = service.file()
    job = service.job(file, checkpoint_every=2)
    set_quota(service.hub, "datasets/alice/fine-tuning", Amounts(nbytes=6_000))
    service.train()
    now = service.now(job)
    assert any("quota" in each for each in messages(service.client, job))
    assert now.status == "succeeded", now.error
    assert list(service.client.fine_tuning.jobs.checkpoints.list(job.id)) == []


def test_a_base_that_goes_while_jobs_wait_ends_them(service: Service) -> None:
    job = service.job(service.file())
    service.look_at_files()
    with service.hub.db.read() as session:
        base = session.scalars(select(Repo).where(Repo.key == f"model/{BASE}")).one()
    delete_repo(service.hub, base)
    service.train()
    assert fault(service, job) == ("model_not_found", "model", f"the base {BASE} was deleted")


def test_a_result_that_nobody_may_write_any_more_is_told(service: Service) -> None:
    job = service.job(service.file(), publish={"repo": "alice/taken"})
    HfApi(endpoint=service.url, token="hf_alice").create_repo("alice/taken")
    set_quota(service.hub, "alice/taken", Amounts(nbytes=1_000))
    service.train()
    code, param, message = fault(service, job)
    assert (code, param) == ("not_published", "x_hub.publish.repo")
    assert "quota" in message


@pytest.mark.parametrize("full", [False, True])
def test_a_trainer_that_slept_while_it_published_lets_the_job_go(
    service: Service, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """Its token has run out with its claim; whoever takes the job then publishes it."""
    job = service.job(service.file(), method="full" if full else "lora")
    hand_out, long_ago = counter.hand_out, datetime(2020, 1, 1, tzinfo=UTC)

    def asleep(*arguments: object, **named: object) -> Published:
        def run_out(session: Session) -> None:
            [lease] = session.scalars(select(TuningLease))
            lease.until = long_ago
            session.get_one(AccessToken, lease.token_id).expires_at = long_ago

        service.hub.db.run(run_out)
        return hand_out(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(desk, "BEAT_S", 1000.0)
    with monkeypatch.context() as patch:
        patch.setattr(counter, "hand_out", asleep)
        service.train(full=full)
    assert service.now(job).status == "queued"  # no report was made
    service.train(full=full)
    now = service.now(job)
    assert now.status == "succeeded", now.error
    commits = HfApi(endpoint=service.url, token="hf_alice").list_repo_commits(x_hub(now)["target"])
    assert sum("Train" in each.title for each in commits) == 1


@pytest.mark.parametrize("kind", ["zenflow", "adamw"])
def test_a_whole_model_is_trained_and_published_as_deltas(service: Service, kind: str) -> None:
    options = {"zenflow": {"update_interval": 2, "select_interval": 4}} if kind == "zenflow" else {}
    job = service.job(service.file(), method="full", optimizer={"kind": kind} | options)
    service.train(full=True)
    now = service.now(job)
    assert now.status == "succeeded", now.error
    [published] = x_hub(now)["result"]["published"]
    assert published["form"] == "full"
    assert AutoModelForCausalLM.from_pretrained(pulled(service, published["repo"]))


def test_others_step_while_a_result_is_published(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing the short one does not begin before the long one has stepped on without it."""
    file = service.file()
    short = service.job(file, seed=1)
    long = service.job(file, seed=2, n_epochs=20)
    has_gone_on, take, hand_out = threading.Event(), LoraJob.take, counter.hand_out
    steps: list[int] = []

    def counted(job: LoraJob, *arguments: object) -> object:
        if job.name == long.id:
            steps.append(job.num_steps)
            if len(steps) > 30:
                has_gone_on.set()
        return take(job, *arguments)  # type: ignore[arg-type]

    def held_up(form: Form, track: Track, *arguments: object, **named: object) -> Published:
        assert track.spec.name == long.id or has_gone_on.wait(60)
        return hand_out(form, track, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(LoraJob, "take", counted)
    monkeypatch.setattr(counter, "hand_out", held_up)
    service.train()
    now = [service.now(job) for job in (short, long)]
    assert [job.status for job in now] == ["succeeded", "succeeded"], [job.error for job in now]
    assert distance(service.adapter(long), service.alone("sums.jsonl", seed=2, epochs=20)) <= 1e-4
