"""Knobs of the trainer that an embedded hub keeps: a group of ``app.settings``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Tuning(BaseModel):
    """Fine-tuning in this process's own trainer; `clade trainer` has the same as options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trainer: Literal["embedded", "none"] = Field(
        "embedded",
        description="Start a trainer when there is something to train (without a broker, and where "
        "torch is installed), or leave jobs to `clade trainer` elsewhere.",
    )
    bases: int = Field(1, ge=1, description="Bases that are trained on at a time, a process each.")
    device: str = Field("cpu", description="cpu, cuda, cuda:1, …")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Of the base; auto: as its files have it."
    )
    layout: Literal["packed", "padded"] = Field(
        "packed", description="Of batches; models that cannot be packed are padded."
    )
    memory_gb: float | None = Field(
        None, gt=0, description="For base, adapters and batches of a process; none: not bounded."
    )
    most_jobs: int = Field(8, ge=1, description="Jobs that take a step together.")
    most_tokens: int = Field(4096, ge=1, description="Tokens of such a step.")
    threads: int | None = Field(None, ge=1, description="Of a process; default: torch's own.")
    idle_s: float = Field(
        60, ge=0, description="How long a base is kept in memory without a job, seconds."
    )
