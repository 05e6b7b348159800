"""What may be asked of a job beyond OpenAI's fields: ``x_hub`` in the body, strictly read.

The names are those of a training file (docs/training/lora.md). What only a trainer can judge, such
as names of layers, fails the job when it is looked at.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1 << 31)]
RepoId = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$", max_length=193)]


class Strict(BaseModel):
    """Unknown fields are refused: a misspelt one would train something else than was meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterWish(Strict):
    """The low-rank adapter, under PEFT's names."""

    r: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Positive | None = None
    dropout: Share = 0.0
    target_modules: (
        Annotated[list[Annotated[str, Field(max_length=256)]], Field(min_length=1, max_length=256)]
        | Literal["all-linear"]
    ) = "all-linear"
    rslora: bool = False


class OptimizerWish(Strict):
    """``kind = "zenflow"`` trains the whole model."""

    kind: Literal["adamw", "zenflow"] = "adamw"
    lr: Positive = 2e-4
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    max_grad_norm: Positive | None = 1.0
    zenflow: dict[str, Any] = {}

    @model_validator(mode="after")
    def _checked(self) -> "OptimizerWish":
        if self.zenflow and self.kind != "zenflow":
            raise ValueError('options of zenflow need kind = "zenflow"')
        return self


class EarlyStopWish(Strict):
    """When to stop before the end."""

    reasons: list[Literal["diverged", "plateau", "predicted"]] = ["diverged"]
    min_gain: Annotated[float, Field(gt=0, lt=1)] = 0.005
    patience: Annotated[int, Field(ge=1)] = 4


class PublishWish(Strict):
    """Where the result goes. ``both``: merged ones into ``{repo}-merged``."""

    form: Literal["adapter", "merged", "both"] = "adapter"
    repo: RepoId | None = None
    private: bool = False


class Wishes(Strict):
    """``x_hub``: all of it may be left out."""

    revision: Annotated[str, Field(min_length=1, max_length=256)] = "main"
    method: Literal["lora", "full"] | None = None
    steps: Count | None = None
    max_seq_len: Annotated[int, Field(ge=2)] | None = None
    chat_template: Annotated[str, Field(max_length=64 << 10)] | None = None
    eval_every: Count = 50
    checkpoint_every: Count = 50
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    adapter: AdapterWish = AdapterWish()
    optimizer: OptimizerWish = OptimizerWish()
    early_stop: EarlyStopWish = EarlyStopWish()
    publish: PublishWish = PublishWish()

    @property
    def is_full(self) -> bool:
        """Whether the model itself is trained, not an adapter."""
        return self.method == "full" or self.optimizer.kind == "zenflow"

    @model_validator(mode="after")
    def _checked(self) -> "Wishes":
        if self.is_full and self.method == "lora":
            raise ValueError('optimizer.kind "zenflow" trains the whole model: method is "full"')
        if self.is_full and "adapter" in self.model_fields_set:
            raise ValueError("adapter is for LoRA; a full fine-tune trains the whole model")
        if self.is_full and self.publish.form != "adapter" and "publish" in self.model_fields_set:
            raise ValueError("publish.form is for adapters; a full fine-tune is published whole")
        return self
