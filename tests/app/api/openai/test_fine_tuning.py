"""`/v1/fine_tuning/jobs` as the `openai` client uses it; nobody trains anything here."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from app.accounts.issuing import ScopeName, issue_token
from app.settings import Limits
from tests.fixtures.api import LiveHub
from tests.fixtures.tuning import messages, openai_client, x_hub

DATA = b'{"text": "a"}\n'
ZENFLOW = {"optimizer": {"kind": "zenflow"}}


@pytest.fixture
def alice(live_hub: LiveHub) -> Iterator[OpenAI]:
    live_hub.api().create_repo("alice/base")
    with openai_client(live_hub.url, "hf_alice") as client:
        yield client


@pytest.fixture
def file(alice: OpenAI) -> str:
    return alice.files.create(file=("a.jsonl", DATA), purpose="fine-tune").id


def asked(file: str, **more: Any) -> dict[str, Any]:
    return {"model": "alice/base", "training_file": file} | more


def test_a_job_says_what_was_asked_and_what_that_came_to(
    alice: OpenAI, file: str, live_hub: LiveHub
) -> None:
    jobs = alice.fine_tuning.jobs
    supervised = {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": "auto"}}
    job = jobs.create(
        **asked(file, validation_file=file, suffix="My Bot!", seed=5, metadata={"team": "a"}),
        method={"type": "supervised", "supervised": supervised},  # type: ignore[typeddict-item]
        extra_body={"x_hub": {"adapter": {"r": 4}, "priority": 2}},
    )
    assert (job.object, job.status, job.model) == (
        "fine_tuning.job",
        "validating_files",
        "alice/base",
    )
    assert (job.training_file, job.validation_file, job.seed) == (file, file, 5)
    assert job.hyperparameters.n_epochs == 2
    assert (job.hyperparameters.batch_size, job.hyperparameters.learning_rate_multiplier) == (8, 1)
    assert (job.organization_id, job.metadata, job.fine_tuned_model) == (
        "alice",
        {"team": "a"},
        None,
    )
    own = x_hub(job)
    assert (own["target"], own["adapter"]["r"], own["priority"]) == ("alice/base-My-Bot", 4, 2)
    assert own["commit"] == live_hub.api().model_info("alice/base").sha
    assert jobs.retrieve(job.id) == job
    assert messages(alice, job) == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {file}",
    ]
    assert list(jobs.checkpoints.list(job.id)) == []
    old = jobs.create(**asked(file), hyperparameters={"batch_size": 3})
    assert old.hyperparameters.batch_size == 3
    assert x_hub(old)["target"].startswith("alice/base-")


def test_pages_and_metadata(alice: OpenAI, file: str) -> None:
    jobs = alice.fine_tuning.jobs
    made = [
        jobs.create(**asked(file), suffix=f"s{number}", metadata={"odd": str(number % 2)})
        for number in range(5)
    ]
    names = [job.id for job in made][::-1]
    assert [job.id for job in jobs.list(limit=2).data] == names[:2]
    assert [job.id for job in jobs.list(limit=2)] == names
    assert [job.id for job in jobs.list(limit=1, metadata={"odd": "1"})] == names[1::2]
    events = jobs.list_events(made[0].id, limit=1)
    assert len(list(events)) == 2
    with pytest.raises(openai.BadRequestError, match="no event"):
        jobs.list_events(made[0].id, after=events.data[0].id.replace("ftevent-", "ftevent-x"))


def test_cancel_pause_and_resume_of_a_job_that_waits(alice: OpenAI, file: str) -> None:
    jobs = alice.fine_tuning.jobs
    job = jobs.create(**asked(file))
    assert jobs.pause(job.id).status == "paused"
    assert jobs.pause(job.id).status == "paused"
    assert jobs.resume(job.id).status == "validating_files"
    with pytest.raises(openai.BadRequestError, match="cannot be resumed"):
        jobs.resume(job.id)
    over = jobs.cancel(job.id)
    assert (over.status, over.finished_at is not None) == ("cancelled", True)
    for change in (jobs.cancel, jobs.pause, jobs.resume):
        with pytest.raises(openai.BadRequestError, match="is cancelled"):
            change(job.id)
    assert messages(alice, job)[-1] == "Fine-tuning job cancelled"


def test_an_idempotency_key_makes_one_job(alice: OpenAI, file: str) -> None:
    jobs = alice.fine_tuning.jobs
    once = {"extra_headers": {"Idempotency-Key": "k"}}
    first = jobs.create(**asked(file), **once)  # type: ignore[arg-type]
    assert jobs.create(**asked(file), **once).id == first.id  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="was used for another job"):
        jobs.create(**asked(file, suffix="x"), **once)  # type: ignore[arg-type]
    assert len(list(jobs.list())) == 1


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"model": "alice/none"}, "model", "does not exist, or not for you"),
        ({"model": "gpt-4o-mini"}, "model", "write owner/name"),
        ({"training_file": "file-none"}, "training_file", "No such File"),
        ({"suffix": "???"}, "suffix", "no letter or digit"),
        ({"suffix": "x" * 65}, "suffix", "64"),
        ({"integrations": [{"type": "wandb"}]}, "integrations", "none are served"),
        ({"method": {"type": "dpo"}}, "method.type", "only supervised"),
        ({"hyperparameters": {"n_epochs": 0}}, None, "n_epochs"),
        ({"metadata": {"k": "x" * 513}}, None, "metadata"),
        ({"x_hub": {"adapter": {"r": 0}}}, "x_hub.adapter.r", "greater than or equal to 1"),
        ({"x_hub": {"adapter": {"r": 4096}}}, "x_hub.adapter.r", "1024"),
        ({"x_hub": {"adapter": {"rang": 4}}}, "x_hub.adapter.rang", "not permitted"),
        ({"x_hub": {"optimizer": {"zenflow": {"topk_ratio": 1}}}}, "x_hub.optimizer", "need kind"),
        ({"x_hub": {"method": "lora", **ZENFLOW}}, "x_hub", 'method is "full"'),
        ({"x_hub": {"adapter": {"r": 4}, **ZENFLOW}}, "x_hub", "adapter is for LoRA"),
        ({"x_hub": {"revision": "none"}}, None, "none"),
        ({"x_hub": {"publish": {"repo": "bob/x"}}}, "x_hub.publish.repo", "may not write"),
        ({"x_hub": {"publish": {"repo": "alice/a--b"}}}, None, "not allowed"),
        ({"unknown": 1}, "unknown", "not permitted"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(
    alice: OpenAI, file: str, change: dict[str, Any], param: str | None, says: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        alice.post("/fine_tuning/jobs", body=asked(file) | change, cast_to=object)
    told = caught.value
    assert 400 <= told.status_code < 500
    assert says in told.message
    if param is not None:
        assert told.param == param
    assert list(alice.fine_tuning.jobs.list()) == []


def test_nobody_trains_with_what_is_not_his(alice: OpenAI, file: str, live_hub: LiveHub) -> None:
    live_hub.api().create_repo("alice/private", private=True)
    job = alice.fine_tuning.jobs.create(**asked(file))
    with openai_client(live_hub.url, "hf_bob") as bob:
        with pytest.raises(openai.BadRequestError, match="training_file: No such File"):
            bob.fine_tuning.jobs.create(**asked(file))
        own = bob.files.create(file=("b", DATA), purpose="fine-tune").id
        with pytest.raises(openai.NotFoundError, match="does not exist, or not for you"):
            bob.fine_tuning.jobs.create(model="alice/private", training_file=own)
        for ask in ("retrieve", "cancel", "pause", "resume", "list_events"):
            with pytest.raises(openai.NotFoundError):
                getattr(bob.fine_tuning.jobs, ask)(job.id)
        assert list(bob.fine_tuning.jobs.list()) == []
        assert bob.fine_tuning.jobs.create(model="alice/base", training_file=own)
    _, secret = issue_token(live_hub.hub, "alice", name="r", role="read")
    with openai_client(live_hub.url, secret) as reader:
        assert reader.fine_tuning.jobs.retrieve(job.id).id == job.id
        for change in ("cancel", "pause"):
            with pytest.raises(openai.PermissionDeniedError):
                getattr(reader.fine_tuning.jobs, change)(job.id)
        with pytest.raises(openai.PermissionDeniedError):
            reader.fine_tuning.jobs.create(**asked(file))
    scopes = (ScopeName("datasets/alice/fine-tuning", True),)
    _, secret = issue_token(live_hub.hub, "alice", name="f", role="fineGrained", scopes=scopes)
    with openai_client(live_hub.url, secret) as scoped:
        with pytest.raises(openai.PermissionDeniedError, match="may not write to alice/base-"):
            scoped.fine_tuning.jobs.create(**asked(file))
        assert list(scoped.fine_tuning.jobs.list()) == []


def test_only_so_many_jobs_are_open(alice: OpenAI, file: str, live_hub: LiveHub) -> None:
    settings = live_hub.hub.settings
    limits = Limits.model_validate(settings.limits.model_dump() | {"tuning_jobs": 1})
    live_hub.hub.settings = settings.model_copy(update={"limits": limits})
    job = alice.fine_tuning.jobs.create(**asked(file))
    with pytest.raises(openai.APIStatusError, match=r"limits\.tuning_jobs"):
        alice.fine_tuning.jobs.create(**asked(file))
    alice.fine_tuning.jobs.cancel(job.id)
    assert alice.fine_tuning.jobs.create(**asked(file))
