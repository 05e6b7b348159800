"""Tensors that an older encoder stored get today's form, at any pace, with any interruption."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

import codec
from app.db.tables import Content, Encoding, Job
from app.deltas import recode, reencode
from app.deltas.coding import ENCODER
from app.deltas.reencode import outdated, owe_reencoding
from app.deltas.repack import repack
from app.gc.collect import collect
from app.jobs.context import JobContext
from tests.app.deltas.test_crash import Killed, Tripwire, copied, run_everything
from tests.fixtures.models import ModelHub, as_bf16, base_weights, tuned

SHAPES = {"embed_tokens.weight": (1100, 64), "layers.0.up.weight": (64, 64), "norm.weight": (64,)}

Encode = Callable[..., bytes]


@pytest.fixture
def old_hub(models: ModelHub, monkeypatch: pytest.MonkeyPatch) -> ModelHub:
    """A base and its fine-tune as a version stored them that knew nothing better than BITX."""
    return stored_by_older_version(models, monkeypatch)


def stored_by_older_version(models: ModelHub, monkeypatch: pytest.MonkeyPatch) -> ModelHub:
    encode: Encode = codec.encode

    def plain(data: Any, *, dtype: str, base: Any = None, **options: Any) -> bytes:
        name = {"U8": "ZSTD"}.get(dtype, "PLANE" if base is None else "BITX")
        return encode(data, dtype=dtype, base=base, **(options | {"codec": name}))

    base = as_bf16(base_weights(shapes=SHAPES))
    with monkeypatch.context() as patch:
        patch.setattr(codec, "encode", plain)
        models.push("alice/base", base)
        models.run_jobs()
        models.push("alice/tune", tuned(base, 1))
        models.run_jobs()
    make_old(models)
    assert codecs(models, "alice/tune") == {"BITX"}
    return models


def make_old(models: ModelHub) -> None:
    models.hub.db.run(lambda session: session.execute(update(Encoding).values(encoder=0)))


def codecs(models: ModelHub, repo: str) -> set[str]:
    return {e.codec for n, e in models.encodings(repo).items() if "norm" not in n}


def owe(models: ModelHub) -> None:
    models.hub.db.run(lambda session: owe_reencoding(session, models.hub))


def left(models: ModelHub) -> int:
    with models.hub.db.read() as session:
        return outdated(session).contents


def sizes(models: ModelHub) -> dict[int, int]:
    with models.hub.db.read() as session:
        return {row.content_id: row.nbytes for row in session.query(Encoding)}


def places(models: ModelHub) -> dict[int, tuple[int, int]]:
    with models.hub.db.read() as session:
        return {row.content_id: (row.object_id, row.start) for row in session.query(Encoding)}


def test_old_frames_become_new_and_smaller_with_the_same_bytes(old_hub: ModelHub):
    before = sizes(old_hub)
    owe(old_hub)
    old_hub.run_jobs()
    after = sizes(old_hub)
    assert codecs(old_hub, "alice/tune") == {"CTX"}
    assert all(after[content] <= before[content] for content in before)
    assert sum(after.values()) < 0.95 * sum(before.values())
    assert old_hub.base_of("alice/tune", "embed_tokens.weight") == "alice/base"
    assert left(old_hub) == 0
    old_hub.check()
    collect(old_hub.hub, now=True)
    old_hub.check()


def test_second_run_moves_nothing(old_hub: ModelHub):
    for _ in range(2):
        owe(old_hub)
        old_hub.run_jobs()
        settled = places(old_hub)
        make_old(old_hub)
    owe(old_hub)
    old_hub.run_jobs()
    assert places(old_hub) == settled
    assert left(old_hub) == 0


def test_nothing_new_is_old(models: ModelHub):
    base = as_bf16(base_weights(shapes=SHAPES))
    models.push("alice/base", {"README.md": b"# A base\n", "notes.txt": b"plain words " * 3000})
    models.push("alice/base", base)
    models.push("alice/tune", tuned(base, 1))
    models.run_jobs()
    assert left(models) == 0


def test_a_worse_encoder_makes_nothing_larger(old_hub: ModelHub, monkeypatch: pytest.MonkeyPatch):
    before = places(old_hub)
    encode: Encode = codec.encode
    monkeypatch.setattr(codec, "encode", lambda *a, **o: encode(*a, **(o | {"codec": "RAW"})))
    owe(old_hub)
    old_hub.run_jobs()
    assert places(old_hub) == before
    assert left(old_hub) == 0


def test_large_tensors_are_coded_again_in_bounded_memory(
    old_hub: ModelHub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recode, "STREAMED_NBYTES", 4096)
    owe(old_hub)
    old_hub.run_jobs()
    assert codecs(old_hub, "alice/tune") == {"CTX"}
    old_hub.check()


def test_budget_ends_a_job_and_another_goes_on(old_hub: ModelHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reencode, "BUDGET_NBYTES", 1)
    monkeypatch.setattr(reencode, "BATCH_CONTENTS", 1)
    owe(old_hub)
    old_hub.run_jobs()
    with old_hub.hub.db.read() as session:
        jobs = session.scalars(select(Job).where(Job.kind == "reencode")).all()
    assert len(jobs) > 3
    assert left(old_hub) == 0
    assert codecs(old_hub, "alice/tune") == {"CTX"}
    old_hub.check()


def test_death_at_any_call_leaves_every_byte_and_a_rerun_finishes(old_hub: ModelHub, tmp_path):
    owe(old_hub)
    with copied(old_hub, tmp_path, 0) as models:
        with Tripwire(models.hub, lambda _n: None) as wire:
            run_everything(models.hub)
        collect(models.hub, now=True)
        expected, calls = models.stored_nbytes(), wire.calls
    for death in range(0, calls, max(1, calls // 8)):
        with copied(old_hub, tmp_path, death + 1) as models:

            def die(n: int, death=death) -> None:
                if n >= death:
                    raise Killed

            with pytest.raises(Killed), Tripwire(models.hub, die):
                run_everything(models.hub)
            models.check(deep=False)
            run_everything(models.hub)
            assert left(models) == 0
            assert models.stored_nbytes() == expected
            models.check()


def test_damaged_content_is_left_and_does_not_stop_the_rest(old_hub: ModelHub):
    content = old_hub.encodings("alice/tune")["layers.0.up.weight"].content_id

    def damage(session):
        session.get_one(Content, content).health = "damaged"

    old_hub.hub.db.run(damage)
    owe(old_hub)
    old_hub.run_jobs()
    assert left(old_hub) == 1
    assert old_hub.encodings("alice/tune")["embed_tokens.weight"].codec == "CTX"


def test_a_copy_keeps_the_generation_of_its_frame(old_hub: ModelHub):
    rows = old_hub.encodings("alice/tune")
    row = rows["embed_tokens.weight"]
    repack(JobContext(old_hub.hub, 1, {"object_id": row.object_id}))
    moved = old_hub.encodings("alice/tune")["embed_tokens.weight"]
    assert moved.object_id != row.object_id
    assert moved.encoder == 0 < ENCODER
