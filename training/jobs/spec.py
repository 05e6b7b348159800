"""What a user asks for: a TOML file with a base and the jobs on it, strictly read."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from training.jobs.limits import RunLimits, policy_for
from training.lora.job import AdamwOptions
from training.lora.options import ALL_LINEAR, LoraOptions
from training.optim import ZenFlowOptions
from training.sched.early_stop import EarlyStopOptions, Reason
from training.sched.shape import Layout
from training.schedule import Kind, Schedule


class BadSpec(ValueError):
    """A training file that cannot be followed; the message names file and field."""


class Strict(BaseModel):
    """Unknown fields are refused: a misspelt one would train something else than was meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterSpec(Strict):
    """``[jobs.adapter]``: see :class:`LoraOptions`."""

    r: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: list[str] | Literal["all-linear"] = ALL_LINEAR
    rslora: bool = False

    @property
    def options(self) -> LoraOptions:
        """As the trainer takes them."""
        return LoraOptions(**self.model_dump())

    @model_validator(mode="after")
    def _checked(self) -> "AdapterSpec":
        assert self.options
        return self


class OptimizerSpec(Strict):
    """``[jobs.optimizer]``. ``kind = "zenflow"`` trains the whole model; see ZenFlowOptions."""

    kind: Literal["adamw", "zenflow"] = "adamw"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-4
    schedule: Kind = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    zenflow: dict[str, Any] = {}

    @property
    def adamw(self) -> AdamwOptions:
        """As a LoRA job takes them."""
        return AdamwOptions(self.betas, self.eps, self.weight_decay, self.max_grad_norm)

    @property
    def zenflow_options(self) -> ZenFlowOptions:
        """As ZenFlow takes them."""
        return ZenFlowOptions(**self.zenflow)

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("are two shares from 0 to below 1")
        return betas

    @model_validator(mode="after")
    def _checked(self) -> "OptimizerSpec":
        if self.zenflow and self.kind != "zenflow":
            raise ValueError('zenflow options need kind = "zenflow"')
        try:
            assert self.zenflow_options
        except TypeError as error:
            raise ValueError(f"zenflow: {error}") from error
        return self


class EarlyStopSpec(Strict):
    """``[jobs.early_stop]``: see :class:`EarlyStopOptions`."""

    reasons: list[Reason] = [Reason.DIVERGED]
    min_gain: float = 0.005
    patience: int = 4

    @property
    def options(self) -> EarlyStopOptions:
        """As the policy takes them."""
        return EarlyStopOptions(
            reasons=frozenset(self.reasons), min_gain=self.min_gain, patience=self.patience
        )

    @model_validator(mode="after")
    def _checked(self) -> "EarlyStopSpec":
        assert self.options
        return self


class PublishSpec(Strict):
    """``[jobs.publish]``: the repository that the result becomes a commit of.

    Of ``both``, what is merged goes to one of its own, whose name ends with ``-merged``.
    """

    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    form: Literal["adapter", "merged", "both"] = "adapter"
    private: bool = False

    @property
    def repos(self) -> dict[str, str]:
        """By form of a LoRA job, where it goes."""
        if self.form == "both":
            return {"adapter": self.repo, "merged": f"{self.repo}-merged"}
        return {self.form: self.repo}


class JobSpec(Strict):
    """``[[jobs]]``. Trains for ``steps``, or if they are not given for ``epochs``.

    ``max_seq_len``: by default 1024, or less if the base has positions for less.
    """

    name: Annotated[str, Field(pattern=r"^[\w][\w.-]{0,63}$")]
    data: Path
    validation: Path | None = None
    epochs: Annotated[float, Field(gt=0)] = 3
    steps: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0, le=4096)] = 8
    max_seq_len: Annotated[int, Field(ge=2)] | None = None
    chat_template: Path | None = None
    seed: int = 0
    priority: int = 0
    eval_every: Annotated[int, Field(gt=0)] = 50
    method: Literal["lora", "full"] | None = None
    merge: bool = False
    adapter: AdapterSpec = AdapterSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    early_stop: EarlyStopSpec = EarlyStopSpec()
    publish: PublishSpec | None = None

    @model_validator(mode="after")
    def _one_method(self) -> "JobSpec":
        if self.is_full and self.method == "lora":
            raise ValueError('optimizer kind "zenflow" trains the whole model: method is "full"')
        return self

    @property
    def is_full(self) -> bool:
        """Whether the model itself is trained, not an adapter."""
        return self.method == "full" or self.optimizer.kind == "zenflow"

    @property
    def wants_merged(self) -> bool:
        """Whether the adapter is to be merged into the base."""
        return self.merge or (self.publish is not None and "merged" in self.publish.repos)

    def total_steps(self, per_epoch: int) -> int:
        """Of a run over data with so many batches in an epoch."""
        return self.steps or max(1, round(self.epochs * per_epoch))

    def schedule(self, per_epoch: int) -> Schedule:
        """Its learning rates."""
        how = self.optimizer
        return Schedule(how.lr, self.total_steps(per_epoch), how.schedule, how.warmup_steps)


class TrainSpec(Strict):
    """The whole file. Paths are relative to it. ``layout``: by default packed where that can be."""

    base: str
    revision: str = "main"
    output: Path
    layout: Layout | None = None
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    policy: Literal["fifo", "minpad", "packed"] | None = None
    most_jobs: Annotated[int, Field(gt=0)] = 8
    most_tokens: Annotated[int, Field(gt=0)] = 4096
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    checkpoint_every: Annotated[int, Field(gt=0)] = 50
    jobs: Annotated[list[JobSpec], Field(min_length=1)]

    @model_validator(mode="after")
    def _checked(self) -> "TrainSpec":
        names = [job.name.lower() for job in self.jobs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two jobs are called {min(twice)}; results are kept by name")
        if len(self.jobs) > 1 and (full := [job.name for job in self.jobs if job.is_full]):
            raise ValueError(f"{full[0]} trains the whole model and needs a file of its own")
        return self

    def settled(self, layout: Layout) -> RunLimits:
        """What a run in this layout may take, by the policy that suits it if none was asked for."""
        return RunLimits(
            layout=layout,
            policy_name=self.policy or policy_for(layout),
            most_jobs=self.most_jobs,
            most_tokens=self.most_tokens,
            memory_gb=self.memory_gb,
        )


def read_spec(path: Path) -> TrainSpec:
    """A training file, its paths made absolute. Raises BadSpec; OSError."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        spec = TrainSpec.model_validate(given)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path.name} is no TOML: {error}") from error
    except ValidationError as error:
        told = [_told(each["loc"], each["msg"]) for each in error.errors(include_url=False)]
        raise BadSpec(f"{path.name}: " + "; ".join(told)) from error
    home = path.parent.resolve()

    def settled(job: JobSpec) -> JobSpec:
        paths = {
            name: home / value
            for name in ("data", "validation", "chat_template")
            if (value := getattr(job, name)) is not None
        }
        return job.model_copy(update=paths)

    local = home / spec.base
    return spec.model_copy(
        update={
            "base": str(local) if local.is_dir() else spec.base,
            "output": home / spec.output,
            "jobs": [settled(job) for job in spec.jobs],
        }
    )


def _told(place: Sequence[int | str], message: str) -> str:
    where = ".".join(str(part) for part in place)
    where = re.sub(r"\.(\d+)", lambda found: f"[{found[1]}]", where)
    text = message.removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
