"""What an operator should look at although the hub serves."""

import shutil
from collections.abc import Callable, Mapping

from sqlalchemy import func, select

from app.contents.findings import count_findings
from app.db.tables import Job
from app.hub import Hub

JOB_WAIT_S = 600.0
"""A job that may run and is not run for this long is nobody's."""

FREE_SHARE = 0.05
"""Less of the data directory's disk than this is too little to be quiet about."""


def degradations(hub: Hub) -> dict[str, str]:
    """Name -> what is wrong and what to do; empty if all is well.

    Reads the database and the local disk only. Raises what the database raises.
    """
    found = {name: check(hub) for name, check in CHECKS.items()}
    return {name: fault for name, fault in found.items() if fault is not None}


def _jobs(hub: Hub) -> str | None:
    with hub.db.read() as session:
        states = dict(
            session.execute(
                select(Job.state, func.count())
                .where(Job.state.in_(["running", "failed"]))
                .group_by(Job.state)
            ).all()
        )
        oldest = session.scalar(select(func.min(Job.run_after)).where(Job.state == "queued"))
    wait_s = (hub.clock.now() - oldest).total_seconds() if oldest is not None else 0.0
    if wait_s > JOB_WAIT_S and not states.get("running"):
        return f"a job has been waiting for {wait_s:.0f} s and none is run: are workers up?"
    if states.get("failed"):
        return f"{states['failed']} jobs were given up: `clade jobs` tells why"
    return None


def _disk(hub: Hub) -> str | None:
    if not hub.settings.data.exists():  # somebody took it away; the store says what that means
        return f"the data directory {hub.settings.data.name} is gone"
    usage = shutil.disk_usage(hub.settings.data)
    if usage.free < FREE_SHARE * usage.total:
        return f"{usage.free / 2**30:.1f} GiB are free on the data directory's disk: make room"
    return None


def _damage(hub: Hub) -> str | None:
    with hub.db.read() as session:
        counts = count_findings(session)
    counts.pop("unknown-object", None)  # wastes space, loses nothing
    if not counts:
        return None
    said = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    return f"{said}: `clade fsck` names them, `clade fsck --deep --repair` mends what it can"


CHECKS: Mapping[str, Callable[[Hub], str | None]] = {
    "jobs": _jobs,
    "disk": _disk,
    "damage": _damage,
}
