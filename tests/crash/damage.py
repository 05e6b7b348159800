"""A store that does not keep what it is given, and what is done about it."""

from contextlib import suppress

from app.errors import ContentNotFound, Damaged
from app.gc.collect import collect
from app.gc.periodic import sweep_store
from app.jobs.context import JobContext
from tests.crash.samples import CHUNKS
from tests.crash.stage import Act, Stage
from tests.crash.uploads import abandoned_xorb, xet_from_files


def zeroed(data: bytes) -> bytes:
    """An object after a bad disk."""
    return data


def lost(_data: bytes) -> None:
    """An object that is gone."""


def healed(act: Act, *uploads: Act) -> Act:
    """An act on a store that was harmed, after which clients send everything again."""

    def whole(stage: Stage) -> None:
        act(stage)
        for upload in uploads:
            upload(stage)
        collect(stage.hub, now=True)
        stage.is_harmed = False

    return whole


def read_what_rotted(stage: Stage) -> None:
    """Readers find the damage."""
    stage.harm(zeroed)
    for place in stage.acknowledged:
        with suppress(Damaged):
            stage.read(*place)


def sweep_what_is_lost(stage: Stage) -> None:
    """The sweep finds it, xorbs included."""
    abandoned_xorb(stage)
    stage.harm(lost)
    sweep_store(JobContext(stage.hub, 0, {}))


def replacements_rot(stage: Stage) -> None:
    """New forms are damaged while the old ones are there still: they are put back."""
    stage.run_jobs()
    stage.harm(zeroed, purpose="pack")
    collect(stage.hub, now=True)


def chunks_rot(stage: Stage) -> None:
    """A shard names chunks that only a damaged file holds."""
    stage.harm(zeroed)
    with suppress(Damaged, ContentNotFound):
        xet_from_files("four", "again.bin", CHUNKS)(stage)
