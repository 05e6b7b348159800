"""A trainer of one base: jobs come, go, and are published while others step."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from client.errors import LeaseLost, Unreachable
from client.trainer import TrainerClient
from training.jobs.full_run import FullRun
from training.jobs.limits import TooLittleMemory
from training.jobs.lora_run import LoraRun
from training.jobs.origin import find_origin
from training.jobs.stopping import Interrupted, IsStopping
from training.jobs.track import Track
from training.jobs.workshop import Beside, Workshop, directly
from training.lora.adapter import Adapter
from training.lora.packing import best_layout
from training.lora.trainer import FusedTrainer
from training.sched.shape import Layout
from training.service.asked import lacks_token
from training.service.between import Between
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
        self._publishing: dict[str, tuple[Held, Future[None]]] = {}
        self._looked_at = -CLAIM_S
        self._busy_at = time.monotonic()

    def run_together(self, is_stopping: IsStopping) -> None:
        """LoRA jobs, many at a time. Raises ClientError if the hub refuses a trainer."""
        with (
            self._desk,
            ThreadPoolExecutor(1, "trainer-data") as reader,
            ThreadPoolExecutor(1, "trainer-publisher") as publisher,
            Between() as between,
        ):
            self._claim()
            workshop = self._open(between)
            if workshop is None:
                return
            try:
                run = self._run = self._begin(workshop)
            except TooLittleMemory as error:
                self._refuse_all(error)
                return
            while not is_stopping() and not self._is_idle():
                self._claim()
                self._read(workshop, reader)
                self._join(run)
                self._obey(run)
                self._publish(workshop, run, publisher)
                between.serve()
                if run.tracks:
                    self._step(run)
                else:
                    time.sleep(PAUSE_S)
            while self._publishing:
                between.serve()
                self._publish(workshop, run, publisher)
                time.sleep(PAUSE_S)
            for held in self._desk.held:
                with self._apart(held):
                    self._save(run, held)
                    self._counter.end(held, "queued")

    def run_full(self, is_stopping: IsStopping) -> None:
        """One job that trains the whole model."""
        with self._desk:
            self._claim(full=True)
            workshop = self._open(directly)
            if workshop is None:
                return
            for held in self._desk.held:
                with self._apart(held):
                    self._train_whole(workshop, held, is_stopping)

    def _train_whole(self, workshop: Workshop, held: Held, is_stopping: IsStopping) -> None:
        track = self._counter.track(workshop, held)
        layout, memory = best_layout(workshop.model), self._options.memory_gb
        run = FullRun(layout, workshop.model, track, memory)
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

    def _open(self, beside: Beside) -> Workshop | None:
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
                    origin,
                    dtype=options.dtype,
                    device=options.device,
                    cache=options.cache,
                    beside=beside,
                )
        return None

    def _begin(self, workshop: Workshop) -> LoraRun:
        layout = self._options.layout
        if layout is Layout.PACKED:
            layout = best_layout(workshop.model)
        return LoraRun(self._options.limits(layout), workshop.model)

    def _refuse_all(self, error: TooLittleMemory) -> None:
        """No job of this base can be trained here; those that wait are told."""
        while held := self._desk.held:
            for each in held:
                self._counter.fail(each, error)
                self._forget(each)
            self._looked_at = -CLAIM_S
            self._claim()

    def _read(self, workshop: Workshop, reader: ThreadPoolExecutor) -> None:
        """Have the data of new jobs read while others step."""
        for held in self._desk.held:
            if not held.is_read:
                held.is_read = True
                self._reading[held.claim.job] = reader.submit(self._counter.track, workshop, held)

    def _join(self, run: LoraRun) -> None:
        """Have those whose data was read."""
        for held in self._desk.held:
            name = held.claim.job
            if name in self._reading and self._reading[name].done():
                with self._apart(held):
                    track = self._reading.pop(name).result()
                    run.add(track, max(0.0, time.time() - held.claim.created_at))
                    held.track = track

    def _publish(self, workshop: Workshop, run: LoraRun, publisher: ThreadPoolExecutor) -> None:
        """Have jobs that took their last step handed in while others step."""
        for name, (held, handed_in) in list(self._publishing.items()):
            if handed_in.done():
                del self._publishing[name]
                with self._apart(held):
                    handed_in.result()
        for held in self._desk.held:
            name, track = held.claim.job, held.track
            if track is not None and track.is_over and name not in self._publishing:
                handed_in = publisher.submit(
                    self._hand_in, workshop, run.trainer, run.jobs[name].adapter, track, held
                )
                self._publishing[name] = held, handed_in

    def _hand_in(
        self,
        workshop: Workshop,
        trainer: FusedTrainer,
        adapter: Adapter,
        track: Track,
        held: Held,
    ) -> None:
        self._counter.hand_in(
            held,
            track,
            lambda form, home: (
                workshop.merged(adapter, track, home / form)
                if form == "merged"
                else workshop.adapter(trainer, adapter, track, home / form)
            ),
        )

    def _obey(self, run: LoraRun) -> None:
        """What owners want by now; of what is being handed in, its end is waited for."""
        for held in self._desk.held:
            if held.claim.job in self._publishing:
                continue
            if held.wanted == "gone":
                self._forget(held)
            elif held.wanted == "pause" and held.claim.job not in self._reading:
                with self._apart(held):
                    self._save(run, held)
                    self._counter.end(held, "paused")

    def _step(self, run: LoraRun) -> None:
        stepped: list[Track] = []
        run.step(stepped.append)
        by_name = {held.claim.job: held for held in self._desk.held}
        for track in stepped:
            by_name[track.spec.name].stepped(track)

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
            if lacks_token(error):
                log.warning("%s is let go, its claim ran out: %s", held.claim.job, error)
            else:
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
        is_busy = self._desk.held or self._publishing
        return not is_busy and time.monotonic() - self._busy_at >= self._options.idle_s
