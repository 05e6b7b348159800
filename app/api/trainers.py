"""What trainers are told and tell: see ``app.tuning``. Every write carries the claim's fence."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app.api.body import with_body
from app.api.deps import HubDep, Trainer
from app.api.json_body import read_json
from app.api.openai.files import send_file
from app.api.pace import Pace
from app.api.request_bodies import sends, takes, takes_bytes
from app.errors import InvalidRequest, LeaseLost
from app.tuning import leasing, losing, results
from app.tuning.leasing import Claim, Report, Said, Work

router = APIRouter(tags=["fine-tuning"])

JOB = "/api/clade/trainer/jobs/{job_name}"
MAX_REPORTS = 256
MAX_SAID = 64

Fence = Annotated[int, Field(ge=0, le=1 << 62)]
Count = Annotated[int, Field(ge=0, le=1 << 62)]
Step = Annotated[int, Path(ge=0, le=1 << 62)]
FenceParameter = Annotated[int, Query(ge=0, le=1 << 62)]


class Given(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimQuestion(Given):
    """Who wants jobs, and of which base; without one, those whose files nobody looked at."""

    holder: Annotated[str, Field(min_length=1, max_length=64)]
    base: Annotated[str, Field(max_length=208)] | None = None
    commit: Annotated[str, Field(max_length=40)] = ""
    full: bool = False
    most: Annotated[int, Field(ge=1, le=256)] = 1


class Loss(Given):
    """A process that is dead."""

    holder: Annotated[str, Field(min_length=1, max_length=64)]


class Event(Given):
    """Something a job says."""

    message: Annotated[str, Field(max_length=10_000)]
    level: Literal["info", "warn", "error"] = "info"
    metrics: dict[str, Any] | None = None


class JobReport(Given):
    """How far a job is."""

    job: Annotated[str, Field(max_length=40)]
    fence: Fence
    beat: Count
    steps: Count = 0
    total_steps: Count = 0
    trained_tokens: Count = 0
    running: bool = False
    events: Annotated[list[Event], Field(max_length=MAX_SAID)] = []


class Reports(Given):
    """Of all jobs of a trainer."""

    reports: Annotated[list[JobReport], Field(max_length=MAX_REPORTS)]


class Fenced(Given):
    """The number of a claim."""

    fence: Fence


class JobFault(Given):
    """Why a job failed."""

    code: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=10_000)]
    param: Annotated[str, Field(max_length=64)] | None = None


class Ending(Fenced):
    """How a trainer leaves a job."""

    status: Literal["queued", "paused", "succeeded", "failed"]
    error: JobFault | None = None
    result: dict[str, Any] | None = None


@router.get("/api/clade/trainer/work")
def work(hub: HubDep, _trainer: Trainer) -> dict[str, Any]:
    """Bases with jobs that nobody trains."""
    return {"work": [_work(each) for each in leasing.list_work(hub)]}


@router.post("/api/clade/trainer/claims")
@takes(ClaimQuestion)
async def claim(request: Request, hub: HubDep, _trainer: Trainer) -> dict[str, Any]:
    """Take jobs of one base, or one whose files are to be looked at."""
    asked = await read_json(request, hub.settings.limits, ClaimQuestion)

    def take() -> list[Claim]:
        if asked.base is None:
            unread = leasing.claim_unread(hub, asked.holder)
            return [unread] if unread else []
        return leasing.claim_jobs(
            hub,
            asked.holder,
            base=asked.base,
            commit=asked.commit,
            is_full=asked.full,
            most=asked.most,
        )

    return {"claims": [_claim(each) for each in await run_in_threadpool(take)]}


@router.post("/api/clade/trainer/gone")
@takes(Loss)
async def gone(request: Request, hub: HubDep, _trainer: Trainer) -> dict[str, Any]:
    """A process that took jobs is dead, as whoever watched it knows: they are free at once."""
    told = await read_json(request, hub.settings.limits, Loss)
    return {"jobs": await run_in_threadpool(losing.lose_all, hub, told.holder)}


@router.post("/api/clade/trainer/beats")
@takes(Reports)
async def beats(request: Request, hub: HubDep, _trainer: Trainer) -> dict[str, Any]:
    """How far jobs are; answered with what their owners want: run, pause, or gone."""
    told = await read_json(request, hub.settings.limits, Reports)

    def note(each: JobReport) -> dict[str, Any]:
        said = [Said(event.message, event.level, event.metrics) for event in each.events]
        report = Report(
            job=each.job,
            fence=each.fence,
            beat=each.beat,
            steps=each.steps,
            total_steps=each.total_steps,
            trained_tokens=each.trained_tokens,
            is_running=each.running,
            said=said,
        )
        try:
            return {"job": each.job, "wanted": leasing.beat(hub, report)}
        except LeaseLost:
            return {"job": each.job, "wanted": "gone"}

    return {"answers": await run_in_threadpool(lambda: [note(each) for each in told.reports])}


@router.post(JOB + "/valid")
@takes(Fenced)
async def valid(request: Request, hub: HubDep, _trainer: Trainer, job_name: str) -> dict[str, Any]:
    """A job's files are fit to train on."""
    asked = await read_json(request, hub.settings.limits, Fenced)
    await run_in_threadpool(leasing.validated, hub, job_name, asked.fence)
    return {}


@router.get(JOB + "/files/{which}", responses=sends(), response_class=Response)
def data(
    hub: HubDep,
    _trainer: Trainer,
    job_name: str,
    which: Literal["training", "validation"],
    fence: FenceParameter,
) -> Response:
    """What a job is trained, or judged, on."""
    with hub.db.read() as session:
        row = results.find_data(session, hub, job_name, fence, which)
    return send_file(hub, row.file_id, row.nbytes, row.filename)


@router.get(JOB + "/checkpoints/{step}", responses=sends(), response_class=Response)
def checkpoint(
    hub: HubDep, _trainer: Trainer, job_name: str, step: Step, fence: FenceParameter
) -> Response:
    """A state that a job goes on from."""
    with hub.db.read() as session:
        row = results.find_checkpoint(session, hub, job_name, fence, step)
    return send_file(hub, row.file_id, row.nbytes, f"{row.name}.safetensors")


@router.put(JOB + "/checkpoints/{step}")
@takes_bytes("Tensors to go on from; `metrics`: losses as a JSON object.")
async def keep_checkpoint(
    request: Request,
    hub: HubDep,
    _trainer: Trainer,
    job_name: str,
    step: Step,
    fence: FenceParameter,
    metrics: Annotated[str, Query(max_length=4_096)] = "{}",
) -> dict[str, Any]:
    """Keep a state; durable when this answers."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise InvalidRequest("Content-Length: is missing")
    told = _metrics(metrics)

    def keep(buffers: Iterator[bytes]) -> None:
        results.keep_checkpoint(hub, job_name, fence, step, told, buffers, int(length))

    await with_body(request, keep, pace=Pace.of(hub.settings))
    return {}


@router.put(JOB + "/results")
@takes_bytes("A table of losses by step, as CSV.")
async def keep_results(
    request: Request, hub: HubDep, _trainer: Trainer, job_name: str, fence: FenceParameter
) -> dict[str, Any]:
    """Keep a job's losses as a file of its owner's."""

    def keep(buffers: Iterator[bytes]) -> None:
        results.keep_results(hub, job_name, fence, buffers)

    await with_body(request, keep, pace=Pace.of(hub.settings))
    return {}


@router.post(JOB + "/publication")
@takes(Fenced)
async def publication(
    request: Request, hub: HubDep, _trainer: Trainer, job_name: str
) -> dict[str, Any]:
    """Open the repositories that the result goes to, to the claim's own token."""
    asked = await read_json(request, hub.settings.limits, Fenced)
    places = await run_in_threadpool(results.open_publication, hub, job_name, asked.fence)
    return {"places": [{"repo": place.repo, "form": place.form} for place in places]}


@router.post(JOB + "/end")
@takes(Ending)
async def end(request: Request, hub: HubDep, _trainer: Trainer, job_name: str) -> dict[str, Any]:
    """Leave a job, for now or for good."""
    asked = await read_json(request, hub.settings.limits, Ending)
    fault = asked.error and (asked.error.code, asked.error.message, asked.error.param)

    def leave() -> None:
        leasing.end(hub, job_name, asked.fence, asked.status, error=fault, result=asked.result)

    await run_in_threadpool(leave)
    return {}


def _work(each: Work) -> dict[str, Any]:
    return {
        "base": each.base,
        "commit": each.commit,
        "full": each.is_full,
        "jobs": each.jobs,
        "priority": each.priority,
        "waiting_since": each.waiting_since.timestamp(),
    }


def _claim(each: Claim) -> dict[str, Any]:
    job, validation = each.job, each.validation_file
    return {
        "job": job.name,
        "fence": each.fence,
        "lease_s": each.lease_s,
        "token": each.token,
        "base": job.base,
        "commit": job.commit,
        "target": job.target,
        "request": json.loads(job.request),
        "training_file": each.training_file.filename,
        "validation_file": None if validation is None else validation.filename,
        "checkpoints": list(each.checkpoints),
        "suspect": each.is_suspect,
        "created_at": job.created_at.timestamp(),
        "steps": job.steps,
    }


def _metrics(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        raise InvalidRequest("metrics: not JSON") from None
    if not isinstance(told, dict):
        raise InvalidRequest("metrics: not an object")
    return told
