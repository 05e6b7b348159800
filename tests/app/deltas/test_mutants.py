"""A codec that is wrong now and then: nothing that it got wrong becomes current."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import func, select

import codec
from app.db.tables import FormerEncoding, Job
from app.jobs.runner import run_one
from app.tasks import HANDLERS
from tests.fixtures.models import ModelHub, as_bf16, base_weights, tuned


def flipped(data: memoryview | bytes, at: int) -> bytes:
    wrong = bytearray(data)
    wrong[at % len(wrong)] ^= 1 << at % 8
    return bytes(wrong)


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let every so many-th content be coded with one bit flipped, whole and streamed; 0: none."""
    sound, sound_block = codec.encode, codec.FrameEncoder.encode_block
    places, every = np.random.default_rng(3), [0]
    calls = itertools.count(1)

    def is_wrong() -> bool:
        return every[0] > 0 and next(calls) % every[0] == 0

    def encode(data, **options):
        wrong = flipped(data, int(places.integers(1 << 40))) if is_wrong() else data
        return sound(wrong, **options)

    def encode_block(self, index, data, base=None):
        wrong = flipped(data, int(places.integers(1 << 40))) if is_wrong() else data
        return sound_block(self, index, wrong, base)

    monkeypatch.setattr(codec, "encode", encode)
    monkeypatch.setattr(codec.FrameEncoder, "encode_block", encode_block)
    return lambda n: every.__setitem__(0, n)


SHAPES = {"embed_tokens.weight": (1100, 16), "layers.0.up.weight": (64, 64), "norm.weight": (64,)}


def push_family(models: ModelHub) -> None:
    base = as_bf16(base_weights(shapes=SHAPES))
    models.push("alice/base", base)
    models.push("alice/tune", tuned(base, 1))
    models.push("alice/text", {"notes.txt": b"a line that compresses\n" * 2000})


def work(models: ModelHub) -> None:
    """Every job that may run now, whatever comes of it."""
    while run_one(models.hub, HANDLERS, "test"):
        pass


def swaps(models: ModelHub) -> int:
    with models.hub.db.read() as session:
        return session.scalar(select(func.count()).select_from(FormerEncoding)) or 0


@pytest.mark.parametrize("streamed", [False, True])
def test_a_codec_that_is_always_wrong_swaps_nothing(
    models: ModelHub,
    mutate: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
):
    if streamed:
        for module in ("coding", "encode", "recode"):
            monkeypatch.setattr(f"app.deltas.{module}.STREAMED_NBYTES", 1000)
    push_family(models)
    mutate(1)
    work(models)
    assert not swaps(models)
    models.check()


def test_what_one_in_seven_got_wrong_is_coded_again_when_the_codec_is_mended(
    models: ModelHub, mutate: Callable[[int], None]
):
    push_family(models)
    mutate(7)
    work(models)
    models.check()
    mutate(0)
    models.hub.clock.advance(3600)  # type: ignore[attr-defined]
    work(models)
    with models.hub.db.read() as session:
        undone = session.scalars(select(Job.kind).where(Job.state != "done")).all()
    assert not undone
    assert swaps(models)
    assert all(encoding.final for encoding in models.encodings("alice/tune").values())
    models.check()
