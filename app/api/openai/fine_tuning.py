"""``/v1/fine_tuning/jobs`` as OpenAI's clients speak it, and what this hub adds as ``x_hub``."""

import json
import re
from secrets import randbelow
from typing import Annotated, Any, Literal
from zlib import crc32

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.deps import HubDep, SignedIn
from app.api.json_body import read_json
from app.api.openai.shape import OpenAiRoute, loaded, page, seconds
from app.api.request_bodies import takes
from app.db.tables import Account, TuningCheckpoint, TuningEvent, TuningFile, TuningJob
from app.errors import InvalidRequest
from app.hub import Hub
from app.tuning import control
from app.tuning.creating import NewJob, create_job
from app.tuning.results import weigh
from app.tuning.wishes import Wishes

router = APIRouter(tags=["fine-tuning"], route_class=OpenAiRoute)

AUTO = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0}
"""What ``auto`` comes to."""

Name = Annotated[str | None, Query(max_length=64)]
Limit = Annotated[int, Query(ge=1, le=1_000)]

_METADATA = re.compile(r"metadata\[(.+)\]")


class Given(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(Given):
    """OpenAI's three."""

    n_epochs: Literal["auto"] | Annotated[int, Field(ge=1, le=1_000)] = "auto"
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4_096)] = "auto"
    learning_rate_multiplier: (
        Literal["auto"] | Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    ) = "auto"

    def settled(self) -> dict[str, Any]:
        """With numbers in place of ``auto``."""
        given = self.model_dump()
        return {name: AUTO[name] if given[name] == "auto" else given[name] for name in AUTO}


class Supervised(Given):
    """Options of the method that is served."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Method(Given):
    """How to train; of OpenAI's three methods one is served."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: dict[str, Any] | None = None
    reinforcement: dict[str, Any] | None = None


class JobQuestion(Given):
    """A job that is asked for."""

    model: Annotated[str, Field(max_length=256)]
    training_file: Annotated[str, Field(max_length=64)]
    validation_file: Annotated[str, Field(max_length=64)] | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=(1 << 31) - 1)] | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = None
    integrations: list[dict[str, Any]] | None = None
    x_hub: Wishes = Wishes()


@router.post("/v1/fine_tuning/jobs")
@takes(JobQuestion)
async def create(
    request: Request,
    hub: HubDep,
    caller: SignedIn,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> dict[str, Any]:
    """Train on a model of this hub."""
    asked = _asked(await read_json(request, hub.settings.limits, JobQuestion), idempotency_key)

    def work() -> dict[str, Any]:
        job = create_job(hub, caller, asked, key=idempotency_key)
        with hub.db.read() as session:
            return job_object(hub, session, job)

    return await run_in_threadpool(work)


@router.get("/v1/fine_tuning/jobs")
def jobs(
    request: Request, hub: HubDep, caller: SignedIn, after: Name = None, limit: Limit = 20
) -> dict[str, Any]:
    """The caller's jobs, newest first; ``metadata[key]=value`` keeps those that have it."""
    wanted = {
        found[1]: value
        for name, value in request.query_params.items()
        if (found := _METADATA.fullmatch(name))
    }
    with hub.db.read() as session:
        found, has_more = control.list_jobs(
            session, caller, after=after, limit=limit, metadata=wanted
        )
        named = {each for job in found for each in _files_of(job)}
        # Held by the session from here on, so that no job asks for its own.
        _held = session.scalars(select(TuningFile).where(TuningFile.id.in_(named))).all()
        return page([job_object(hub, session, job) for job in found], has_more=has_more)


@router.get("/v1/fine_tuning/jobs/{job_name}")
def job(hub: HubDep, caller: SignedIn, job_name: str) -> dict[str, Any]:
    """One job; of what it published, what it takes in the store by now."""
    with hub.db.read() as session:
        found = control.find_job(session, caller, job_name)
        answer = job_object(hub, session, found)
        for each in (answer["x_hub"]["result"] or {}).get("published", ()):
            each.update(weigh(session, caller, each["repo"], each["commit"]))
    return answer


@router.post("/v1/fine_tuning/jobs/{job_name}/cancel")
def cancel(hub: HubDep, caller: SignedIn, job_name: str) -> dict[str, Any]:
    """End a job at once; nothing of it is published."""
    return _changed(hub, control.cancel(hub, caller, job_name))


@router.post("/v1/fine_tuning/jobs/{job_name}/pause")
def pause(hub: HubDep, caller: SignedIn, job_name: str) -> dict[str, Any]:
    """Save a job after the step that runs, and let it wait."""
    return _changed(hub, control.pause(hub, caller, job_name))


@router.post("/v1/fine_tuning/jobs/{job_name}/resume")
def resume(hub: HubDep, caller: SignedIn, job_name: str) -> dict[str, Any]:
    """Let a paused job go on where it was."""
    return _changed(hub, control.resume(hub, caller, job_name))


@router.get("/v1/fine_tuning/jobs/{job_name}/events")
def events(
    hub: HubDep, caller: SignedIn, job_name: str, after: Name = None, limit: Limit = 20
) -> dict[str, Any]:
    """What a job said, newest first."""
    with hub.db.read() as session:
        found = control.find_job(session, caller, job_name)
        number = None if after is None else _number(found, after)
        rows, has_more = control.list_events(session, found, after=number, limit=limit)
    return page([_event(found, row) for row in rows], has_more=has_more)


@router.get("/v1/fine_tuning/jobs/{job_name}/checkpoints")
def checkpoints(
    hub: HubDep, caller: SignedIn, job_name: str, after: Name = None, limit: Limit = 10
) -> dict[str, Any]:
    """The states of a job that are kept, newest first."""
    with hub.db.read() as session:
        found = control.find_job(session, caller, job_name)
        rows, has_more = control.list_checkpoints(session, found, after=after, limit=limit)
    return page([_checkpoint(found, row) for row in rows], has_more=has_more)


def job_object(hub: Hub, session: Session, job: TuningJob) -> dict[str, Any]:
    """A job as the clients know it, with what only this hub has under ``x_hub``."""
    request = json.loads(job.request)

    def name_of(file_id: int | None) -> str | None:
        row = None if file_id is None else session.get(TuningFile, file_id)
        return None if row is None else row.name

    result_file = name_of(job.result_file_id)
    hyperparameters = request["hyperparameters"]
    is_over = job.finished_at is not None
    result = loaded(job.result)
    return {
        "id": job.name,
        "object": "fine_tuning.job",
        "created_at": seconds(job.created_at),
        "finished_at": seconds(job.finished_at),
        "model": job.base,
        "fine_tuned_model": job.target if job.status == "succeeded" else None,
        "organization_id": session.get_one(Account, job.owner_id).name,
        "status": job.status,
        "training_file": name_of(job.training_file_id) or "",
        "validation_file": name_of(job.validation_file_id),
        "result_files": [result_file] if result_file else [],
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "seed": request["seed"],
        "trained_tokens": job.trained_tokens if is_over else None,
        "error": loaded(job.error),
        "estimated_finish": _estimate(hub, job),
        "integrations": [],
        "metadata": request["metadata"],
        "user_provided_suffix": request["suffix"],
        "x_hub": request["wishes"]
        | {
            "commit": job.commit,
            "target": job.target,
            "wanted": job.wanted,
            "steps_done": job.steps,
            "steps_total": job.total_steps or None,
            "result": result,
        },
    }


def _asked(question: JobQuestion, key: str | None) -> NewJob:
    method = question.method
    if question.integrations:
        raise InvalidRequest("integrations: none are served here; leave the field out")
    if method is not None and method.type != "supervised":
        raise InvalidRequest(f"method.type: {method.type} is not served here, only supervised")
    own = method.supervised.hyperparameters if method and method.supervised else None
    if own is not None and question.hyperparameters is not None:
        raise InvalidRequest("hyperparameters: are given twice; leave them to method.supervised")
    hyperparameters = own or question.hyperparameters or Hyperparameters()
    return NewJob(
        model=question.model,
        training_file=question.training_file,
        validation_file=question.validation_file,
        hyperparameters=hyperparameters.settled(),
        wishes=question.x_hub,
        suffix=question.suffix,
        seed=_seed(key) if question.seed is None else question.seed,
        metadata=question.metadata or {},
    )


def _seed(key: str | None) -> int:
    """By chance; the same for a request that is sent again."""
    return randbelow(1 << 31) if key is None else crc32(key.encode()) >> 1


def _changed(hub: Hub, job: TuningJob) -> dict[str, Any]:
    with hub.db.read() as session:
        return job_object(hub, session, job)


def _estimate(hub: Hub, job: TuningJob) -> int | None:
    """When a running job is over if it goes on as it did since it last began."""
    done = job.steps - job.begun_at
    if job.status != "running" or job.running_at is None or done <= 0 or not job.total_steps:
        return None
    now = hub.clock.now()
    return seconds(now + (now - job.running_at) / done * (job.total_steps - job.steps))


def _files_of(job: TuningJob) -> set[int]:
    ids = (job.training_file_id, job.validation_file_id, job.result_file_id)
    return {each for each in ids if each is not None}


def _event(job: TuningJob, row: TuningEvent) -> dict[str, Any]:
    return {
        "id": f"{_prefix(job)}{row.number}",
        "object": "fine_tuning.job.event",
        "created_at": seconds(row.at),
        "level": row.level,
        "message": row.message,
        "type": row.type,
        "data": loaded(row.data),
    }


def _checkpoint(job: TuningJob, row: TuningCheckpoint) -> dict[str, Any]:
    return {
        "id": row.name,
        "object": "fine_tuning.job.checkpoint",
        "created_at": seconds(row.created_at),
        "fine_tuning_job_id": job.name,
        "fine_tuned_model_checkpoint": f"{job.target}:ckpt-step-{row.step}",
        "step_number": row.step,
        "metrics": loaded(row.metrics),
    }


def _prefix(job: TuningJob) -> str:
    return f"ftevent-{job.name.removeprefix('ftjob-')}-"


def _number(job: TuningJob, event: str) -> int:
    text = event.removeprefix(_prefix(job))
    if text == event or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidRequest(f"after: no event {event!a} of this job")
    return int(text)
