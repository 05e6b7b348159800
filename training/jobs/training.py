"""A whole training file: base and data are had, jobs trained, results exported and published."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.durable import write_whole
from training.jobs.checkpoint import Checkpoints
from training.jobs.full_run import FullRun
from training.jobs.lora_run import LoraRun, Report
from training.jobs.origin import find_origin
from training.jobs.publish import Published
from training.jobs.spec import PublishSpec, TrainSpec
from training.jobs.stopping import IsStopping
from training.jobs.track import Status, Track
from training.jobs.workshop import Form, Place, Workshop, hand_out
from training.lora.packing import best_layout
from training.sched.shape import Layout

SETTLE_S = 30.0
"""How long a hub is given to compress what was published, to tell what it takes there."""


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
    published: Sequence[Published] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"status": self.status.value}


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
        self._workshop = Workshop(
            self.origin, dtype=spec.dtype, device=spec.device, cache=place.cache
        )
        self.tracks = [
            self._workshop.track(job, self._states(job.name), spec.checkpoint_every)
            for job in spec.jobs
        ]

    def run(
        self, report: Report, finished: Callable[[Result], None], is_stopping: IsStopping
    ) -> list[Result]:
        """Train, export, publish; results in the order of the file.

        Raises Interrupted, NoRoom, NotPublished, TooLittleMemory.
        """
        first = self.tracks[0]
        if first.spec.is_full:
            model, memory = self._workshop.model, self.spec.memory_gb
            full = FullRun(self._layout(), model, first, memory)
            full.run(report, is_stopping)
            results = [self._finish_full(full, first)]
            finished(results[0])
            return results
        run = LoraRun(self.spec.settled(self._layout()), self._workshop.model)
        for track in self.tracks:
            run.add(track)
        run.run(report, is_stopping)
        results = []
        for track in self.tracks:
            results.append(self._finish(run, track))
            finished(results[-1])
        return results

    def _layout(self) -> Layout:
        return self.spec.layout or best_layout(self._workshop.model)

    def _states(self, name: str) -> Checkpoints:
        return Checkpoints(self.spec.output / name / "checkpoints")

    def _finish(self, run: LoraRun, track: Track) -> Result:
        if track.failed is not None:
            return self._result(track, {})
        directory, adapter = self.spec.output / track.spec.name, run.jobs[track.spec.name].adapter
        forms = {
            "adapter": self._workshop.adapter(run.trainer, adapter, track, directory / "adapter")
        }
        if track.spec.wants_merged:
            forms["merged"] = self._workshop.merged(adapter, track, directory / "merged")
        return self._result(track, forms)

    def _finish_full(self, run: FullRun, track: Track) -> Result:
        directory = self.spec.output / track.spec.name / "model"
        failed = track.failed is not None
        return self._result(
            track, {} if failed else {"model": self._workshop.whole(run, track, directory)}
        )

    def _result(self, track: Track, forms: Mapping[str, Form]) -> Result:
        result = Result(
            name=track.spec.name,
            status=Status.FAILED if track.failed else Status.SUCCEEDED,
            why=track.failed or (track.stopped.value if track.stopped else None),
            steps=track.num_steps,
            loss=track.curve.last_loss,
            valid_loss=track.curve.last_valid_loss,
            directories={name: str(form.directory) for name, form in forms.items()},
            published=self._publish(track, forms),
        )
        text = json.dumps(result.facts, indent=2) + "\n"
        write_whole(
            self.spec.output / track.spec.name / "result.json", lambda path: path.write_text(text)
        )
        return result

    def _publish(self, track: Track, forms: Mapping[str, Form]) -> Sequence[Published]:
        asked = track.spec.publish
        if asked is None or not forms:
            return ()
        repos = {"model": asked.repo} if track.spec.is_full else asked.repos
        return [self._hand_out(track, forms[form], repo, asked) for form, repo in repos.items()]

    def _hand_out(self, track: Track, form: Form, repo: str, asked: PublishSpec) -> Published:
        return hand_out(
            form,
            track,
            repo,
            hub=self._place.hub,
            token=self._place.token,
            private=asked.private,
            settle_s=SETTLE_S,
        )
