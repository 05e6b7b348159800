"""A claimed job as the trainer's own words for it, and faults as its owner is told them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from client.errors import ClientError
from client.trainer import Claim
from training.data.dataset import UnusableTokenizer
from training.data.errors import BadData
from training.jobs.checkpoint import NoRoom
from training.jobs.limits import TooLittleMemory
from training.jobs.origin import BadBase
from training.jobs.publish import NotPublished
from training.jobs.spec import BadSpec, JobSpec
from training.jobs.track import OtherRun
from training.lora.adapter import NoSuchLayer
from training.lora.attention import UnpackableModel

MOST_CHARACTERS = 9_000

FAULTS: Mapping[type[Exception], tuple[str, str | None]] = {
    BadData: ("invalid_file_format", "training_file"),
    BadSpec: ("invalid_hyperparameters", "x_hub"),
    NoSuchLayer: ("invalid_hyperparameters", "x_hub.adapter"),
    UnusableTokenizer: ("unusable_model", "model"),
    BadBase: ("unusable_model", "model"),
    UnpackableModel: ("unusable_model", "model"),
    NoRoom: ("storage_full", None),
    TooLittleMemory: ("insufficient_memory", None),
    NotPublished: ("not_published", "x_hub.publish.repo"),
    OtherRun: ("checkpoint_mismatch", None),
    ClientError: ("hub_refused", None),
}
"""By the error: OpenAI's code, and the field of the request that is to blame."""


def fault_of(error: Exception) -> dict[str, Any]:
    """Code, message and field."""
    for kind, (code, param) in FAULTS.items():
        if isinstance(error, kind):
            return {"code": code, "message": str(error)[:MOST_CHARACTERS], "param": param}
    told = f"{type(error).__name__}: {error}"[:MOST_CHARACTERS]
    return {"code": "trainer_error", "message": told, "param": None}


def lacks_token(error: BaseException | None) -> bool:
    """Whether the hub did not know a claim's token: it runs out with the claim.

    As when a machine was suspended for longer than that. It is no fault of the job.
    """
    while error is not None:
        answer = getattr(error, "response", None)
        if 401 in (getattr(error, "status", None), getattr(answer, "status_code", None)):
            return True
        error = error.__cause__
    return False


def spec_of(claim: Claim, data: Path, validation: Path | None, template: Path) -> JobSpec:
    """What is to be trained. ``template``: written here if the job brings one. Raises BadSpec."""
    wishes, hyper = dict(claim.request["wishes"]), claim.request["hyperparameters"]
    if wishes["chat_template"]:
        template.write_text(wishes["chat_template"], encoding="utf-8")
    optimizer = wishes["optimizer"]
    optimizer = optimizer | {"lr": optimizer["lr"] * hyper["learning_rate_multiplier"]}
    same = ("steps", "max_seq_len", "eval_every", "priority", "method", "adapter", "early_stop")
    try:
        return JobSpec(
            name=claim.job,
            data=data,
            validation=validation,
            epochs=hyper["n_epochs"],
            batch_size=hyper["batch_size"],
            chat_template=template if wishes["chat_template"] else None,
            seed=claim.request["seed"],
            optimizer=optimizer,
            **{name: wishes[name] for name in same},
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadSpec(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
