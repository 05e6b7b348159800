"""Garbage collection: what nobody refers to leaves the database, then the store.

The order is the model-checked one (leases and intents, files, contents, objects); any number of
collections may run at once, each step is idempotent, and recovery from a crash is the next run.
Grace periods are convenience: with ``now`` they are zero and the protocol is as safe.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.catalog.pruning import prune_cut_histories
from app.db.tables import Content, File
from app.gc import marking, reaping, sweeping
from app.hub import Hub
from app.xet.terms import drop_stale_xorbs

CAP_SHARE = 0.1
"""Share of all files, and of all contents, that one ordinary run deletes at most."""

CAP_FLOOR = 1000
"""Rows that one ordinary run may delete whatever the share."""

UNCAPPED = 1 << 62
EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Before which everything was written, also by a clock that was ahead."""


@dataclass(slots=True)
class CollectReport:
    """What one collection did."""

    leases_dropped: int = 0
    uploads_dropped: int = 0
    downloads_dropped: int = 0
    """Files of a mirror whose parts nobody went on fetching."""
    intents_expired: int = 0
    xorbs_dropped: int = 0
    commits_dropped: int = 0
    """Commits that a squash or the removal of a branch had cut off."""
    files_condemned: int = 0
    files_deleted: int = 0
    contents_condemned: int = 0
    contents_deleted: int = 0
    objects_retired: int = 0
    """Live objects that had lost their referrers without being noticed."""
    objects_deleted: int = 0
    stored_nbytes_deleted: int = 0
    unknown_objects: int = 0
    """Objects that no row knew, found by the sweep that is part of a run without grace."""

    @property
    def changes(self) -> int:
        """Steps after which there may be more to do."""
        marked = self.files_condemned + self.contents_condemned + self.downloads_dropped
        deleted = self.files_deleted + self.contents_deleted + self.objects_deleted
        return marked + deleted + self.xorbs_dropped + self.objects_retired


def collect(hub: Hub, *, now: bool = False) -> CollectReport:
    """Collect garbage once.

    An ordinary run honours the grace periods of ``settings.timers`` and deletes at most a tenth of
    the hub (but up to a thousand rows), so that a mistake leaves a day to be noticed. With ``now``
    there is neither grace nor cap, the run repeats until nothing is left to do, and objects of this
    store epoch that no row knows are deleted as well. Leases and intents in force always hold,
    unless they end later than they may: a clock that was wrong set them, and has been put right.
    """
    report = CollectReport()
    if now:
        report.unknown_objects = sweeping.sweep(hub, grace_s=0).unknown
    while True:
        before = report.changes
        _collect_once(hub, report, now=now)
        if not now or report.changes == before:
            break
    return report


def _collect_once(hub: Hub, report: CollectReport, *, now: bool) -> None:
    timers = hub.settings.timers
    instant = hub.clock.now()
    condemn_before = EVER if now else instant - timedelta(seconds=timers.condemn_s)
    kill_before = EVER if now else instant - timedelta(seconds=timers.kill_s)
    reap_before = EVER if now else instant

    report.leases_dropped += marking.drop_expired_leases(hub, strict=now)
    report.uploads_dropped += marking.drop_expired_uploads(hub, strict=now)
    report.downloads_dropped += marking.drop_idle_parts(hub)
    report.intents_expired += marking.expire_intents(hub, strict=now)
    report.commits_dropped += prune_cut_histories(hub, cut_before=condemn_before)
    report.files_condemned += marking.condemn_files(hub, created_before=condemn_before)
    report.files_deleted += marking.kill_files(
        hub, condemned_before=kill_before, at_most=_cap(hub, File, now=now)
    )
    report.contents_condemned += marking.condemn_contents(hub, created_before=condemn_before)
    report.contents_deleted += marking.kill_contents(
        hub, condemned_before=kill_before, at_most=_cap(hub, Content, now=now)
    )
    report.xorbs_dropped += drop_stale_xorbs(hub)
    report.objects_retired += marking.retire_unused_objects(hub, created_before=condemn_before)
    objects_deleted, nbytes = reaping.reap(hub, before=reap_before)
    report.objects_deleted += objects_deleted
    report.stored_nbytes_deleted += nbytes


def _cap(hub: Hub, table: type[File] | type[Content], *, now: bool) -> int:
    if now:
        return UNCAPPED
    return max(CAP_FLOOR, int(marking.count(hub, table) * CAP_SHARE))
