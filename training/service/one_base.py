"""A trainer of one base: jobs come and go while others step."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from client.errors import LeaseLost, Unreachable
from client.trainer import TrainerClient
from training.jobs.full_run import FullRun
from training.jobs.lora_run import LoraRun
from training.jobs.origin import find_origin
from training.jobs.stopping import Interrupted, IsStopping
from training.jobs.track import Track
from training.jobs.workshop import Workshop
from training.lora.packing import best_layout
from training.sched.shape import Layout
from training.service.counter import Counter
from training.service.desk import Desk, Held
from training.service.options import TrainerOptions

CLAIM_S = 2.0
"""Between two questions for more jobs."""
PAUSE_S = 0.1
"""Where nobody steps."""

log = logging.getLogger(__name__)


class BaseTrainer:
    """Trains jobs of ``base`` at ``commit`` until there are none for ``idle_s`` seconds."""

    def __init__(
        self, client: TrainerClient, options: TrainerOptions, base: str, commit: str, holder: str
    ) -> None:
        self._client = client
        self._options = options
        self._base, self._commit, self._holder = base, commit, holder
        self._desk = Desk(client)
        self._counter = Counter(client, self._desk, options.cache)
        self._run: LoraRun | None = None
        self._reading: dict[str, Future[Track]] = {}
        self._looked_at = -CLAIM_S
        self._busy_at = time.monotonic()

    def run_together(self, is_stopping: IsStopping) -> None:
        """LoRA jobs, many at a time. Raises ClientError if the hub refuses a trainer."""
        with self._desk, ThreadPoolExecutor(1, "trainer-data") as reader:
            self._claim()
            workshop = self._open()
            if workshop is None:
                return
            run = self._run = self._begin(workshop)
            while not is_stopping() and not self._is_idle():
                self._claim()
                self._read(workshop, reader)
                self._join(workshop, run)
                self._obey(run)
                if run.tracks:
                    self._step(workshop, run)
                else:
                    time.sleep(PAUSE_S)
            for held in self._desk.held:
                with self._apart(held):
                    self._save(run, held)
                    self._counter.end(held, "queued")

    def run_full(self, is_stopping: IsStopping) -> None:
        """One job that trains the whole model."""
        with self._desk:
            self._claim(full=True)
            workshop = self._open()
            if workshop is None:
                return
            for held in self._desk.held:
                with self._apart(held):
                    self._train_whole(workshop, held, is_stopping)

    def _train_whole(self, workshop: Workshop, held: Held, is_stopping: IsStopping) -> None:
        track = self._counter.track(workshop, held)
        run = FullRun(best_layout(workshop.model), workshop.model, track)
        try:
            run.run(held.stepped, lambda: is_stopping() or held.wanted != "run")
        except Interrupted:
            self._counter.end(held, "paused" if held.wanted == "pause" else "queued")
        else:
            self._counter.hand_in(
                held, track, lambda _, home: workshop.whole(run, track, home / "model")
            )

    def _claim(self, *, full: bool = False) -> None:
        """Take more jobs if there is room, and nobody who may have killed the last trainer."""
        held = self._desk.held
        room = (1 if full else 2 * self._options.most_jobs) - len(held)
        now = time.monotonic()
        is_time = now - self._looked_at >= CLAIM_S
        if not is_time or room <= 0 or any(each.is_unproven for each in held):
            return
        self._looked_at = now
        try:
            claims = self._client.claim(
                self._holder, self._base, self._commit, full=full, most=room
            )
        except Unreachable as error:
            log.warning("no jobs can be claimed: %s", error)
            return
        for claim in claims:
            self._desk.hold(claim)

    def _open(self) -> Workshop | None:
        """The base, by the token of whichever job still opens it; None if no job is left."""
        options = self._options
        for held in self._desk.held:
            with self._apart(held):
                origin = find_origin(
                    self._base,
                    self._commit,
                    hub=self._client.endpoint,
                    token=held.claim.token,
                    cache=options.cache,
                )
                return Workshop(
                    origin, dtype=options.dtype, device=options.device, cache=options.cache
                )
        return None

    def _begin(self, workshop: Workshop) -> LoraRun:
        layout = self._options.layout
        if layout is Layout.PACKED:
            layout = best_layout(workshop.model)
        return LoraRun(self._options.limits(layout), workshop.model)

    def _read(self, workshop: Workshop, reader: ThreadPoolExecutor) -> None:
        """Have the data of new jobs read while others step."""
        for held in self._desk.held:
            if not held.is_read:
                held.is_read = True
                self._reading[held.claim.job] = reader.submit(self._counter.track, workshop, held)

    def _join(self, workshop: Workshop, run: LoraRun) -> None:
        """Have those whose data was read; what is over by its checkpoint goes straight out."""
        for held in self._desk.held:
            name = held.claim.job
            if name in self._reading and self._reading[name].done():
                with self._apart(held):
                    track = self._reading.pop(name).result()
                    run.add(track, max(0.0, time.time() - held.claim.created_at))
                    if track.is_over:
                        self._finish(workshop, run, track, held)

    def _obey(self, run: LoraRun) -> None:
        """What owners want by now."""
        for held in self._desk.held:
            if held.wanted == "gone":
                self._forget(held)
            elif held.wanted == "pause" and held.claim.job not in self._reading:
                with self._apart(held):
                    self._save(run, held)
                    self._counter.end(held, "paused")

    def _step(self, workshop: Workshop, run: LoraRun) -> None:
        stepped: list[Track] = []
        run.step(stepped.append)
        by_name = {held.claim.job: held for held in self._desk.held}
        for track in stepped:
            held = by_name[track.spec.name]
            held.stepped(track)
            if track.is_over:
                with self._apart(held):
                    self._finish(workshop, run, track, held)

    def _finish(self, workshop: Workshop, run: LoraRun, track: Track, held: Held) -> None:
        adapter = run.jobs[track.spec.name].adapter
        self._counter.hand_in(
            held,
            track,
            lambda form, home: (
                workshop.merged(adapter, track, home / form)
                if form == "merged"
                else workshop.adapter(run.trainer, adapter, track, home / form)
            ),
        )

    def _save(self, run: LoraRun, held: Held) -> None:
        if held.claim.job in {track.spec.name for track in run.tracks}:
            run.save(held.claim.job)

    @contextmanager
    def _apart(self, held: Held) -> Iterator[None]:
        """What goes wrong with a job in here ends that job, and no other."""
        try:
            yield
        except LeaseLost as error:
            log.info("%s was taken away: %s", held.claim.job, error)
        except Unreachable as error:
            # Whoever claims it when the lease has run out goes on from its newest checkpoint.
            log.warning("%s is let go: %s", held.claim.job, error)
        except Exception as error:  # noqa: BLE001  one job's fault must not end the others
            self._counter.fail(held, error)
        else:
            if held.is_ended:
                self._forget(held)
            return
        self._forget(held)

    def _forget(self, held: Held) -> None:
        self._desk.drop(held)
        self._reading.pop(held.claim.job, None)
        self._counter.clear(held)
        self._busy_at = time.monotonic()
        if self._run is not None and held.claim.job in self._run.jobs:
            self._run.remove(held.claim.job)

    def _is_idle(self) -> bool:
        return not self._desk.held and time.monotonic() - self._busy_at >= self._options.idle_s
