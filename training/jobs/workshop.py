"""One base, with all that it takes to ready jobs for it and to hand out what became of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from training.data.dataset import Dataset, load_dataset
from training.data.rendering import Renderer
from training.jobs.checkpoint import States
from training.jobs.export import export_adapter, export_merged, export_model
from training.jobs.full_run import FullRun
from training.jobs.origin import BadBase, Origin
from training.jobs.publish import Logits, Published, publish, verify, weigh
from training.jobs.spec import BadSpec, JobSpec
from training.jobs.track import Track
from training.lora.adapter import Adapter, new_adapter
from training.lora.peft_files import load_adapter
from training.lora.trainer import FusedTrainer

DEFAULT_TOKENS = 1024
AFTERWARDS = {"publish", "merge", "priority", "data", "validation", "chat_template"}
"""Of a job's settings those that do not change what is trained; files count by their bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """The hub to pull from and publish to, and the directory of caches."""

    hub: str
    token: str | None
    cache: Path


class Form(NamedTuple):
    """A result on disk: where, how it answers here, and how what is in a directory answers."""

    directory: Path
    ours: Logits
    theirs: Callable[[Path], Logits]


class Workshop:
    """The base is loaded once, for all jobs. Raises BadBase."""

    def __init__(self, origin: Origin, *, dtype: str, device: str, cache: Path) -> None:
        self.origin = origin
        self.model = origin.model(dtype, device)
        self._dtype, self._device = dtype, device
        self._tokenizer = origin.tokenizer()
        self._tokens = cache / "training" / "tokens"

    def track(self, job: JobSpec, states: States, checkpoint_every: int) -> Track:
        """A job, its data read. Raises BadData, BadSpec, BadBase, UnusableTokenizer, OSError."""
        template = job.chat_template.read_text(encoding="utf-8") if job.chat_template else None
        renderer = Renderer(self._tokenizer, template)
        data = self._data(job.data, renderer, job)
        validation = self._data(job.validation, renderer, job) if job.validation else None
        identity = job.model_dump(mode="json", exclude=AFTERWARDS) | {
            "base": self.origin.root,
            "dtype": self._dtype,
            "max_seq_len": data.facts.max_tokens,
            "data": data.facts.sha256,
            "validation": validation.facts.sha256 if validation else None,
            "chat_template": renderer.template,
        }
        return Track(job, data, validation, states, identity, checkpoint_every)

    def adapter(
        self, trainer: FusedTrainer, adapter: Adapter, track: Track, directory: Path
    ) -> Form:
        """An adapter in PEFT's form, whose files are of float32. Raises NoRoom."""
        export_adapter(track, adapter, self.origin, directory)

        def answers(of: Adapter) -> Logits:
            return lambda tokens: trainer.logits(of, tokens)

        def read(pulled: Path) -> Logits:
            again = new_adapter(trainer.base.model, adapter.options, seed=0)
            load_adapter(again, pulled)
            return answers(again)

        is_rounded = any(side.dtype != torch.float32 for side in adapter.parameters)
        return Form(directory, read(directory) if is_rounded else answers(adapter), read)

    def merged(self, adapter: Adapter, track: Track, directory: Path) -> Form:
        """The base, fresh from disk, with an adapter merged in. Raises NoRoom."""
        model = self.origin.model(self._dtype, self._device).eval()
        export_merged(track, adapter, self.origin, model, directory)
        return Form(directory, _asking(model), self._reloaded)

    def whole(self, run: FullRun, track: Track, directory: Path) -> Form:
        """A model that was trained as a whole. Raises NoRoom."""
        traffic = run.optimizer.traffic
        extra = {
            "bytes to the host, to the device": f"{traffic.to_host_nbytes:,}, "
            f"{traffic.to_device_nbytes:,} in this process",
        }
        export_model(track, self.origin, run.model, extra, directory)
        return Form(directory, _asking(run.model), self._reloaded)

    def _reloaded(self, directory: Path) -> Logits:
        pulled = Origin(str(directory), directory, None)
        return _asking(pulled.model(self._dtype, self._device).eval())

    def _data(self, path: Path, renderer: Renderer, job: JobSpec) -> Dataset:
        longest = getattr(self.model.config, "max_position_embeddings", None)
        wanted = job.max_seq_len or min(DEFAULT_TOKENS, longest or DEFAULT_TOKENS)
        if longest is not None and wanted > longest:
            raise BadSpec(
                f"{job.name}: max_seq_len is {wanted}, but the base has positions for {longest}"
                " tokens"
            )
        data = load_dataset(path, renderer, wanted, self._tokens)
        rows = self.model.get_input_embeddings().get_parameter("weight").shape[0]
        largest = max(int(sample.tokens.max()) for sample in data.samples)
        if largest >= rows:
            raise BadBase(
                f"{self.origin.root}: its tokenizer makes token {largest} of {path.name}, beyond"
                f" its {rows} embeddings"
            )
        return data


def hand_out(
    form: Form,
    track: Track,
    repo: str,
    *,
    hub: str,
    token: str | None,
    settle_s: float,
    private: bool = False,
    creating: bool = True,
) -> Published:
    """Publish a form of a result and compare what comes back. Raises NotPublished, ClientError.

    ``creating``: make the repository if there is none. ``settle_s``: see :func:`weigh`.
    """
    title = f"Train {track.spec.name} on {track.data.facts.name}"
    published = publish(
        form.directory,
        repo,
        hub=hub,
        token=token,
        private=private if creating else None,
        title=title,
    )
    verify(published, form.ours, form.theirs, hub=hub, token=token)
    return weigh(published, hub=hub, token=token, settle_s=settle_s)


def _asking(model: PreTrainedModel) -> Logits:
    """Asks through the attention that all are compared under."""
    model.set_attn_implementation("sdpa")

    def logits(tokens: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=tokens.to(model.device), use_cache=False).logits

    return logits
