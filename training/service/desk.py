"""Jobs that a trainer holds, and the reports on them that keep its claims alive.

Reports come from a thread of their own, so that no claim runs out because a step, a download or an
upload takes long. One that was not answered is sent again as it was: the hub counts it once.
"""

import logging
import threading
from collections.abc import Mapping
from math import isfinite
from typing import Any, Self

from client.errors import ClientError
from client.trainer import Claim, Report, TrainerClient, Wanted
from training.jobs.track import Track

BEAT_S = 1.0
MOST_EVENTS = 64
"""In one report."""

log = logging.getLogger(__name__)


class Held:
    """One job, from its claim to its end. Used by the trainer's thread and the desk's."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.wanted: Wanted = "run"
        self.total_steps = 0
        self.track: Track | None = None
        """Once its data was read."""
        self.is_read = False
        """Whether its data was asked for."""
        self.is_ended = False
        """Whether the hub was told that we are done with it."""
        self._lock = threading.Lock()
        self._beat = 0
        self._steps = claim.steps
        self._tokens = 0
        self._is_running = False
        self._events: list[Mapping[str, Any]] = []
        self._latest: Mapping[str, Any] | None = None
        self._unanswered: Report | None = None

    @property
    def is_unproven(self) -> bool:
        """Whether its last trainer was lost, and it has not got any further since."""
        return self.claim.suspect and self._steps <= self.claim.steps

    def say(self, message: str, level: str = "info") -> None:
        """Tell the job's owner something."""
        with self._lock:
            self._events.append({"message": message, "level": level, "metrics": None})

    def stepped(self, track: Track) -> None:
        """The job took a step: the last one before a report is told, and every evaluation."""
        if not track.curve.steps:  # it broke in its first
            return
        row, total = track.curve.steps[-1], track.total_steps
        step, evaluations = row["step"], track.curve.evaluations
        metrics = {"step": step, "total_steps": total, "train_loss": row["loss"], "lr": row["lr"]}
        message = f"Step {step}/{total}: training loss={row['loss']:.4f}"
        is_evaluated = bool(evaluations) and evaluations[-1]["step"] == step
        if is_evaluated:
            metrics["full_valid_loss"] = evaluations[-1]["valid_loss"]
            message += f", full validation loss={evaluations[-1]['valid_loss']:.4f}"
        if row["skipped"] is not None:
            message += f"; not used: {row['skipped']}"
        told = {name: value if isfinite(value) else None for name, value in metrics.items()}
        event = {"message": message, "level": "info", "metrics": told}
        with self._lock:
            self._is_running = True
            self._steps = step
            self._tokens = sum(each["tokens"] for each in track.curve.steps)
            self._latest = None if is_evaluated else event
            if is_evaluated:
                self._events.append(event)

    def report(self) -> Report:
        """What is to be told now: what was not answered, or else what is new."""
        with self._lock:
            if self._unanswered is None:
                if self._latest is not None:
                    self._events.append(self._latest)
                    self._latest = None
                self._beat += 1
                self._unanswered = Report(
                    job=self.claim.job,
                    fence=self.claim.fence,
                    beat=self._beat,
                    steps=self._steps,
                    total_steps=self.total_steps,
                    trained_tokens=self._tokens,
                    running=self._is_running,
                    events=tuple(self._events[:MOST_EVENTS]),
                )
                del self._events[:MOST_EVENTS]
            return self._unanswered

    def lost(self) -> None:
        """The job is not ours any more."""
        self.wanted = "gone"

    def answered(self, wanted: Wanted) -> None:
        """The hub took the report."""
        with self._lock:
            self._unanswered = None
            self.wanted = "gone" if self.wanted == "gone" else wanted

    @property
    def has_more(self) -> bool:
        """Whether something was not told yet."""
        with self._lock:
            return bool(self._events or self._latest or self._unanswered)


class Desk:
    """All jobs that a process holds. Entered, it reports on them every second."""

    def __init__(self, client: TrainerClient) -> None:
        self._client = client
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trainer-desk", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def held(self) -> list[Held]:
        """In the order they came."""
        with self._lock:
            return list(self._held.values())

    def hold(self, claim: Claim) -> Held:
        """Report on a job from now on."""
        held = Held(claim)
        with self._lock:
            self._held[claim.job] = held
        return held

    def drop(self, held: Held) -> None:
        """Report no more."""
        with self._lock:
            self._held.pop(held.claim.job, None)

    def flush(self, held: Held) -> None:
        """Tell all that a job has said, before its end is told. Raises ClientError."""
        while held.has_more and held.wanted != "gone":
            self._send([held])

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._send(self.held)
            except ClientError as error:
                log.warning("no report could be made: %s", error)

    def _send(self, held: list[Held]) -> None:
        if not held:
            return
        with self._sending:
            reports = {each.claim.job: each.report() for each in held}
            answers = self._client.beat(list(reports.values()))
            for each in held:
                if each.claim.job in answers:
                    each.answered(answers[each.claim.job])
