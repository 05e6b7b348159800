"""A whole training file: base and data are had, jobs trained, results exported and published."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.data.dataset import Dataset, load_dataset
from training.data.rendering import Renderer
from training.durable import write_whole
from training.jobs.checkpoint import Checkpoints
from training.jobs.export import export_adapter, export_merged, export_model
from training.jobs.full_run import FullRun
from training.jobs.lora_run import LoraRun, Report
from training.jobs.origin import BadBase, Origin, find_origin
from training.jobs.publish import Published, publish, verify
from training.jobs.spec import BadSpec, JobSpec, TrainSpec
from training.jobs.stopping import IsStopping
from training.jobs.track import Status, Track
from training.lora.adapter import new_adapter
from training.lora.job import LoraJob
from training.lora.peft_files import load_adapter

DEFAULT_TOKENS = 1024
AFTERWARDS = {"publish", "merge", "priority", "data", "validation", "chat_template"}
"""Of a job's settings those that do not change what is trained; files count by their bytes."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended. ``directories`` by form; ``why`` it failed, or was stopped early."""

    name: str
    status: Status
    why: str | None
    steps: int
    loss: float | None
    valid_loss: float | None
    directories: Mapping[str, str]
    published: Published | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"status": self.status.value}


@dataclass(frozen=True, slots=True)
class Place:
    """The hub to pull from and publish to, and the directory of caches."""

    hub: str
    token: str | None
    cache: Path


class Training:
    """One run of a file; the same file again goes on where it was interrupted.

    All data is read before anything is trained. Raises BadBase, BadData, BadSpec, OtherRun,
    NoSuchLayer, ClientError, OSError.
    """

    def __init__(self, spec: TrainSpec, place: Place) -> None:
        self.spec = spec
        self._place = place
        self.origin = find_origin(
            spec.base, spec.revision, hub=place.hub, token=place.token, cache=place.cache
        )
        tokenizer = self.origin.tokenizer()
        self._model = self.origin.model(spec.dtype, spec.device)
        self.tracks = [self._track(job, tokenizer) for job in spec.jobs]

    def run(
        self, report: Report, finished: Callable[[Result], None], is_stopping: IsStopping
    ) -> list[Result]:
        """Train, export, publish; results in the order of the file.

        Raises Interrupted, NoRoom, NotPublished.
        """
        first = self.tracks[0]
        if first.spec.is_full:
            full = FullRun(self.spec, self._model, first)
            full.run(report, is_stopping)
            results = [self._finish_full(full, first)]
            finished(results[0])
            return results
        run = LoraRun(self.spec, self._model, self.tracks)
        run.run(report, is_stopping)
        results = []
        for track in self.tracks:
            results.append(self._finish(run, track))
            finished(results[-1])
        return results

    def _track(self, job: JobSpec, tokenizer: PreTrainedTokenizerBase) -> Track:
        template = job.chat_template.read_text(encoding="utf-8") if job.chat_template else None
        renderer = Renderer(tokenizer, template)
        data = self._data(job.data, renderer, job)
        validation = self._data(job.validation, renderer, job) if job.validation else None
        identity = job.model_dump(mode="json", exclude=AFTERWARDS) | {
            "base": self.origin.root,
            "dtype": self.spec.dtype,
            "max_seq_len": data.facts.max_tokens,
            "data": data.facts.sha256,
            "validation": validation.facts.sha256 if validation else None,
            "chat_template": renderer.template,
        }
        return Track(
            job,
            data,
            validation,
            Checkpoints(self.spec.output / job.name / "checkpoints"),
            identity,
            self.spec.checkpoint_every,
        )

    def _data(self, path: Path, renderer: Renderer, job: JobSpec) -> Dataset:
        longest = getattr(self._model.config, "max_position_embeddings", None)
        wanted = job.max_seq_len or min(DEFAULT_TOKENS, longest or DEFAULT_TOKENS)
        if longest is not None and wanted > longest:
            raise BadSpec(
                f"{job.name}: max_seq_len is {wanted}, but the base has positions for {longest}"
                " tokens"
            )
        kept = self._place.cache / "training" / "tokens"
        data = load_dataset(path, renderer, wanted, kept)
        rows = self._model.get_input_embeddings().get_parameter("weight").shape[0]
        largest = max(int(sample.tokens.max()) for sample in data.samples)
        if largest >= rows:
            raise BadBase(
                f"{self.origin.root}: its tokenizer makes token {largest} of {path.name}, beyond"
                f" its {rows} embeddings"
            )
        return data

    def _finish(self, run: LoraRun, track: Track) -> Result:
        job, directory = run.jobs[track.spec.name], self.spec.output / track.spec.name
        directories: dict[str, str] = {}
        published = None
        if track.failed is None:
            asked = track.spec.publish
            directories["adapter"] = str(directory / "adapter")
            export_adapter(track, job.adapter, self.origin, directory / "adapter")
            merged: PreTrainedModel | None = None
            if track.spec.wants_merged:
                merged = self.origin.model(self.spec.dtype, self.spec.device).eval()
                directories["merged"] = str(directory / "merged")
                export_merged(track, job.adapter, self.origin, merged, directory / "merged")
            if asked is not None and asked.form == "adapter":
                published = self._publish(directory / "adapter", track)
                self._verify(
                    published,
                    lambda tokens: run.trainer.logits(job.adapter, tokens),
                    lambda to: self._adapted(run, job, to),
                )
            elif asked is not None and merged is not None:
                published = self._publish(directory / "merged", track)
                self._verify(published, self._asking(merged), self._reloaded)
        return self._result(track, directories, published)

    def _finish_full(self, run: FullRun, track: Track) -> Result:
        directory = self.spec.output / track.spec.name / "model"
        if track.failed is not None:
            return self._result(track, {}, None)
        traffic = run.optimizer.traffic
        extra = {
            "bytes to the host, to the device": f"{traffic.to_host_nbytes:,}, "
            f"{traffic.to_device_nbytes:,} in this process",
        }
        export_model(track, self.origin, run.model, extra, directory)
        published = None
        if track.spec.publish is not None:
            published = self._publish(directory, track)
            self._verify(published, self._asking(run.model), self._reloaded)
        return self._result(track, {"model": str(directory)}, published)

    def _publish(self, directory: Path, track: Track) -> Published:
        asked, place = track.spec.publish, self._place
        assert asked is not None
        title = f"Train {track.spec.name} on {track.data.facts.name}"
        return publish(
            directory,
            asked.repo,
            hub=place.hub,
            token=place.token,
            private=asked.private,
            title=title,
        )

    def _verify(self, published: Published, ours: Any, theirs: Callable[[Path], Any]) -> None:
        verify(published, ours, theirs, hub=self._place.hub, token=self._place.token)

    def _adapted(self, run: LoraRun, job: LoraJob, directory: Path) -> Any:
        """The trainer's base with the adapter of a directory."""
        adapter = new_adapter(run.trainer.base.model, job.adapter.options, seed=0)
        load_adapter(adapter, directory)
        return lambda tokens: run.trainer.logits(adapter, tokens)

    def _reloaded(self, directory: Path) -> Any:
        pulled = Origin(str(directory), directory, None)
        return self._asking(pulled.model(self.spec.dtype, self.spec.device).eval())

    def _asking(self, model: PreTrainedModel) -> Any:
        """Asks through the attention that all are compared under."""
        model.set_attn_implementation("sdpa")

        def logits(tokens: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return model(input_ids=tokens.to(model.device), use_cache=False).logits

        return logits

    def _result(
        self, track: Track, directories: Mapping[str, str], published: Published | None
    ) -> Result:
        result = Result(
            name=track.spec.name,
            status=Status.FAILED if track.failed else Status.SUCCEEDED,
            why=track.failed or (track.stopped.value if track.stopped else None),
            steps=track.num_steps,
            loss=track.curve.last_loss,
            valid_loss=track.curve.last_valid_loss,
            directories=directories,
            published=published,
        )
        text = json.dumps(result.facts, indent=2) + "\n"
        write_whole(
            self.spec.output / track.spec.name / "result.json", lambda path: path.write_text(text)
        )
        return result
