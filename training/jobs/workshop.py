"""One base, with all that it takes to ready jobs for it and to hand out what became of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import torch

from training.data.dataset import Dataset, load_dataset
from training.data.rendering import Renderer
from training.jobs.apart import Apart
from training.jobs.asking import alike, asking
from training.jobs.checkpoint import States
from training.jobs.export import export_adapter, export_merged, export_model
from training.jobs.full_run import FullRun
from training.jobs.origin import BadBase, Origin
from training.jobs.publish import Published, publish, verify, weigh
from training.jobs.spec import BadSpec, JobSpec
from training.jobs.track import Track
from training.lora.adapter import Adapter, new_adapter
from training.lora.peft_files import load_adapter
from training.lora.trainer import FusedTrainer

DEFAULT_TOKENS = 1024
AFTERWARDS = {"publish", "merge", "priority", "data", "validation", "chat_template"}
"""Of a job's settings those that do not change what is trained; files count by their bytes."""


T = TypeVar("T")


class Beside(Protocol):
    """Runs something and returns its result."""

    def __call__(self, work: Callable[[], T], /) -> T:
        """What ``work`` returns."""
        ...


def directly(work: Callable[[], T], /) -> T:
    """Here and now."""
    return work()


@dataclass(frozen=True, slots=True)
class Place:
    """The hub to pull from and publish to, and the directory of caches."""

    hub: str
    token: str | None
    cache: Path


class Form(NamedTuple):
    """A result on disk: where, and whether what is in another directory answers as it does."""

    directory: Path
    is_same: Callable[[Path], bool]


class Workshop:
    """The base is loaded once, for all jobs. Raises BadBase.

    ``beside``: runs what needs the base, and returns what it returns; whoever hands out results
    from a thread has it done in the one that trains.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        dtype: str,
        device: str,
        cache: Path,
        beside: Beside = directly,
    ) -> None:
        self.origin = origin
        self.model = origin.model(dtype, device)
        self._dtype, self._device = dtype, device
        self._beside = beside
        self._apart = Apart(dtype)
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

        is_rounded = any(side.dtype != torch.float32 for side in adapter.parameters)
        ours = self._read(trainer, adapter, directory) if is_rounded else adapter

        def is_same(pulled: Path) -> bool:
            theirs = self._read(trainer, adapter, pulled)
            return self._beside(
                lambda: alike(partial(trainer.logits, ours), partial(trainer.logits, theirs))
            )

        return Form(directory, is_same)

    def merged(self, adapter: Adapter, track: Track, directory: Path) -> Form:
        """The base, fresh from disk, with an adapter merged in. Raises NoRoom."""
        export_merged(track, adapter, self.origin, self._apart, directory)

        def is_same(pulled: Path) -> bool:
            try:
                return self._apart.answers(directory) == self._apart.answers(pulled)
            finally:
                self._apart.close()

        return Form(directory, is_same)

    def whole(self, run: FullRun, track: Track, directory: Path) -> Form:
        """A model that was trained as a whole. Raises NoRoom."""
        traffic, memory = run.optimizer.traffic, run.optimizer.memory
        extra = {
            "optimizer's bytes on the host, on the device": f"{memory.host_nbytes:,}, "
            f"{memory.device_nbytes:,} at most",
            "bytes to the host, to the device": f"{traffic.to_host_nbytes:,}, "
            f"{traffic.to_device_nbytes:,} in this process",
            "waited for the host": f"{traffic.waited_s:.1f} s",
        }
        export_model(track, self.origin, run.model, extra, directory)

        def is_same(pulled: Path) -> bool:
            back = Origin(str(pulled), pulled, None).model(self._dtype, self._device)
            return alike(asking(run.model), asking(back.eval()))

        return Form(directory, is_same)

    def _read(self, trainer: FusedTrainer, like: Adapter, directory: Path) -> Adapter:
        adapter = new_adapter(trainer.base.model, like.options, seed=0)
        load_adapter(adapter, directory)
        return adapter

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
    verify(published, form.is_same, hub=hub, token=token)
    return weigh(published, hub=hub, token=token, settle_s=settle_s)
