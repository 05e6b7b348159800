"""What passes between a trainer and its hub for one job: its data in, its result out."""

import csv
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from client.errors import ClientError
from client.trainer import Ending, TrainerClient
from training.jobs.track import Track
from training.jobs.workshop import Form, Workshop, hand_out
from training.service.asked import fault_of, spec_of
from training.service.desk import Desk, Held
from training.service.states import HubStates

SETTLE_S = 10.0
"""How long the hub is given to have compressed what was published."""

log = logging.getLogger(__name__)


class Counter:
    """Where jobs come in and go out. Works in a directory of its own below ``cache``."""

    def __init__(self, client: TrainerClient, desk: Desk, cache: Path) -> None:
        self._client = client
        self._desk = desk
        self._home = cache / "jobs"

    def track(self, workshop: Workshop, held: Held) -> Track:
        """A job, its data fetched and read. Raises what is wrong with it."""
        claim, home = held.claim, self._homes(held)
        home.mkdir(parents=True, exist_ok=True)
        data = self._data(held, "training", claim.training_file)
        validation = None
        if claim.validation_file is not None:
            validation = self._data(held, "validation", claim.validation_file)
        spec = spec_of(claim, data, validation, home / "template.jinja")
        every = claim.request["wishes"]["checkpoint_every"]
        track = workshop.track(spec, HubStates(self._client, held, home), every)
        held.total_steps = track.total_steps
        facts = track.data.facts
        held.say(
            f"{facts.examples:,} examples of {facts.tokens:,} tokens, {facts.truncated:,} of them"
            f" cut at {facts.max_tokens:,} tokens; {track.total_steps:,} steps"
        )
        if facts.default_template:
            held.say("The base has no chat template; ChatML is used", "warn")
        return track

    def hand_in(self, held: Held, track: Track, form: Callable[[str, Path], Form]) -> None:
        """Publish, verify, and end a job. Raises NotPublished, NoRoom, ClientError."""
        if track.failed is not None:
            self._leave(held, "failed", error=_fault("training_failed", track.failed))
            return
        if track.stopped is not None:
            held.say(f"Stopped early after {track.num_steps} steps: {track.stopped.value}")
        published: list[dict[str, Any]] = []
        for place in self._client.publication(held.claim):
            done = hand_out(
                form(place.form, self._homes(held)),
                track,
                place.repo,
                hub=self._client.endpoint,
                token=held.claim.token,
                settle_s=SETTLE_S,
                creating=False,
            )
            held.say(f"Published and verified: {done}")
            published.append(done.facts | {"form": place.form})
        table = self._homes(held) / "results.csv"
        _write_table(track, table)
        self._client.keep_results(held.claim, table)
        result = {
            "published": published,
            "steps": track.num_steps,
            "stopped_early": track.stopped.value if track.stopped else None,
            "train_loss": track.curve.last_loss,
            "valid_loss": track.curve.last_valid_loss,
        }
        self._leave(held, "succeeded", result=result)

    def end(self, held: Held, how: Ending) -> None:
        """Leave a job for now. Raises ClientError."""
        self._leave(held, how)

    def fail(self, held: Held, error: Exception) -> None:
        """End a job for good; if the hub cannot be told, its lease runs out."""
        log.warning("%s failed", held.claim.job, exc_info=error)
        with suppress(ClientError):
            self._leave(held, "failed", error=fault_of(error))

    def clear(self, held: Held) -> None:
        """Remove what lies here of a job."""
        shutil.rmtree(self._homes(held), ignore_errors=True)

    def _leave(
        self,
        held: Held,
        how: Ending,
        *,
        error: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        self._desk.flush(held)
        self._desk.drop(held)
        self._client.end(held.claim, how, error=error, result=result)
        held.is_ended = True

    def _data(self, held: Held, which: Any, filename: str) -> Path:
        """A file under the name that its owner knows it by."""
        path = self._homes(held) / which / filename
        path.parent.mkdir(exist_ok=True)
        self._client.fetch_data(held.claim, which, path)
        return path

    def _homes(self, held: Held) -> Path:
        """By job and claim: a trainer that was taken for dead shares nothing with the next."""
        return self._home / f"{held.claim.job}-{held.claim.fence}"


def _fault(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None}


def _write_table(track: Track, path: Path) -> None:
    """Losses by step, as OpenAI names the columns of its result files."""
    evaluations = {row["step"]: row["valid_loss"] for row in track.curve.evaluations}
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["step", "train_loss", "valid_loss", "lr", "grad_norm", "tokens", "skipped"])
        for row in track.curve.steps:
            table.writerow(
                [
                    row["step"],
                    row["loss"],
                    evaluations.get(row["step"], ""),
                    row["lr"],
                    row["grad_norm"],
                    row["tokens"],
                    row["skipped"] or "",
                ]
            )
