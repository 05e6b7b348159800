"""The optimiser makes things smaller, never larger, within its budget, and goes on where it was."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.api.collectors import OptimiserCollector
from app.clock import ManualClock
from app.db.tables import Content, Encoding, Job, StoredObject
from app.deltas import optimise as optimising
from app.deltas import rebase as rebasing
from app.deltas.optimise import load_progress, optimise, owe_optimising
from app.deltas.rejections import KEPT_S
from app.explain.rebasing import predict_rebase
from app.gc.collect import collect
from app.jobs.context import JobContext
from app.jobs.runner import drain
from app.jobs.schedule import queue_due
from app.settings import Jobs
from app.tasks import HANDLERS, PERIODS
from tests.app.deltas.test_crash import Killed, Tripwire, copied
from tests.app.deltas.test_reencode import codecs, make_old, stored_by_older_version
from tests.fixtures.command import Clade
from tests.fixtures.models import ModelHub, Weights, as_bf16, base_weights, tuned

SHAPES = {"embed_tokens.weight": (1100, 64), "layers.0.up.weight": (256, 64), "norm.weight": (64,)}
TENSOR = "embed_tokens.weight"
BASE = as_bf16(base_weights(3, SHAPES))
WITHOUT_REBASE = {**HANDLERS, "rebase": lambda _context: None}


def upload(models: ModelHub, order: list[str]) -> None:
    """A family in this order, every base chosen from what was there by then, and kept."""
    for name in order:
        seed = 0 if name == "base" else int(name[1:])
        weights: Weights = BASE if name == "base" else tuned(BASE, seed, 4e-4)
        models.push(f"alice/{name}", weights)
        drain(models.hub, WITHOUT_REBASE)


@pytest.fixture
def late(any_models: ModelHub) -> ModelHub:
    """Fine-tunes that came before their base."""
    upload(any_models, ["t1", "t2", "t3", "base"])
    return any_models


def sizes(models: ModelHub) -> dict[int, int]:
    with models.hub.db.read() as session:
        return {row.content_id: row.nbytes for row in session.query(Encoding)}


def settle(models: ModelHub) -> None:
    models.hub.db.run(lambda session: owe_optimising(session, models.hub))
    models.run_jobs()
    collect(models.hub, now=True)


def depths(models: ModelHub) -> int:
    """Deltas against deltas."""
    with models.hub.db.read() as session:
        of_deltas = select(Encoding.content_id).where(Encoding.base_id.is_not(None))
        chained = select(func.count()).where(Encoding.base_id.in_(of_deltas))
        return session.scalar(chained) or 0


def test_a_late_base_becomes_the_base_and_everything_gets_smaller(late: ModelHub):
    before = late.stored_nbytes()
    assert late.base_of("alice/t2", TENSOR) == "alice/t1"
    foretold = predict_rebase(late.hub, late.repo("alice/base"))
    settle(late)
    assert predict_rebase(late.hub, late.repo("alice/base")) == 0
    assert abs(foretold - (before - late.stored_nbytes())) < 0.03 * before
    assert {late.base_of(f"alice/t{n}", TENSOR) for n in (1, 2, 3)} == {"alice/base"}
    assert late.stored_nbytes() < 0.95 * before
    assert depths(late) == 0
    with late.hub.db.read() as session:
        progress, _ = load_progress(session)
    saved = before - late.stored_nbytes()
    assert saved == progress.total_saved_nbytes
    families = OptimiserCollector(late.hub).collect()
    told = {sample.name: sample.value for family in families for sample in family.samples}
    assert told["clade_optimiser_saved_bytes_total"] == saved
    assert told["clade_optimiser_coded_bytes_total"] > saved
    late.check()


def test_a_settled_hub_is_left_alone(late: ModelHub):
    settle(late)
    settled = sizes(late)
    with late.hub.db.read() as session:
        places = {row.content_id: (row.object_id, row.start) for row in session.query(Encoding)}
    settle(late)
    with late.hub.db.read() as session:
        after = {row.content_id: (row.object_id, row.start) for row in session.query(Encoding)}
    assert (places, settled) == (after, sizes(late))


def test_what_older_encoders_wrote_is_coded_anew(models: ModelHub, monkeypatch):
    stored_by_older_version(models, monkeypatch)
    before = sizes(models)
    settle(models)
    assert codecs(models, "alice/tune") == {"CTX"}
    assert all(nbytes <= before[content] for content, nbytes in sizes(models).items())
    models.check()


def test_promises_that_do_not_come_true_change_nothing(late: ModelHub, monkeypatch):
    """A regrouping is coded before it is believed: here every frame comes out as long as raw."""
    before = sizes(late)
    real = rebasing.code_move
    tried: list[int] = []

    def poorly(*arguments: Any) -> Any:
        ref, coded = real(*arguments)
        tried.append(ref.content_id)
        data = bytes(ref.stored_nbytes + 1)
        return ref, type(coded)(coded.codec, coded.base_id, data, len(data))

    monkeypatch.setattr(rebasing, "code_move", poorly)
    settle(late)
    assert sizes(late) == before
    assert late.bucket_nbytes() <= late.stored_nbytes() / 0.8
    late.check()

    # The next round codes only what it did not come to; in the end nothing is tried again.
    for _ in range(10):
        tried.clear()
        settle(late)
        if not tried:
            break
    assert not tried
    assert predict_rebase(late.hub, late.repo("alice/base")) == 0
    upload(late, ["t4"])
    settle(late)
    assert tried, "what changed is tried again"
    monkeypatch.setattr(rebasing, "code_move", real)
    late.hub.clock.advance(KEPT_S + 1)  # type: ignore[attr-defined]
    for _ in range(2):
        settle(late)
    assert {late.base_of(f"alice/t{n}", TENSOR) for n in (1, 2, 3, 4)} == {"alice/base"}
    late.check()


def test_small_objects_are_joined_within_their_domain(models: ModelHub):
    for n in range(20):
        models.push("alice/open", {f"{n}.txt": f"open {n} ".encode() * 40})
        models.push("bob/secret", {f"{n}.txt": f"mine {n} ".encode() * 40}, private=True)
        models.run_jobs()
    collect(models.hub, now=True)
    before, encoded = objects(models), models.stored_nbytes()
    settle(models)
    assert before >= 40
    assert objects(models) <= 4
    assert models.stored_nbytes() == encoded
    with models.hub.db.read() as session:
        mixed = session.scalars(
            select(Encoding.object_id)
            .join(Content, Content.id == Encoding.content_id)
            .group_by(Encoding.object_id)
            .having(func.count(Content.domain.distinct()) > 1)
        ).all()
    assert not mixed
    models.check()


def objects(models: ModelHub) -> int:
    with models.hub.db.read() as session:
        return len(session.scalars(select(StoredObject.id)).all())


def with_budget(models: ModelHub, **budget: float) -> None:
    jobs = Jobs(**{**models.hub.settings.jobs.model_dump(), **budget})
    models.hub.settings = models.hub.settings.model_copy(update={"jobs": jobs})


def run_hour(models: ModelHub) -> int:
    """One periodic run; raw bytes that it coded."""
    with models.hub.db.read() as session:
        before, _ = load_progress(session)
    optimise(JobContext(models.hub, 1, {}))
    with models.hub.db.read() as session:
        after, _ = load_progress(session)
    return after.total_nbytes - before.total_nbytes


def test_an_hour_has_a_budget_and_the_next_goes_on(models: ModelHub, monkeypatch):
    upload(models, ["t1", "t2", "t3", "base"])
    monkeypatch.setattr(rebasing, "GROUP_NBYTES", 1)
    clock = models.hub.clock
    assert isinstance(clock, ManualClock)
    with_budget(models, optimise_nbytes=1)
    spent = [run_hour(models), run_hour(models)]
    assert spent[0] > 0, "one group, whatever it takes"
    assert spent[1] == 0, "the hour is spent"
    for _ in range(12):
        clock.advance(3600)
        spent.append(run_hour(models))
    assert len([each for each in spent if each]) >= 2, "one group an hour"
    assert {models.base_of(f"alice/t{n}", TENSOR) for n in (1, 2, 3)} == {"alice/base"}
    models.check(deep=False)


@pytest.mark.parametrize("budget", [{"optimise_nbytes": 0}, {"optimise_cpu_s": 0}])
def test_no_budget_is_no_work(models: ModelHub, budget: dict[str, float]):
    upload(models, ["t1", "t2", "base"])
    with_budget(models, **budget)
    before = sizes(models)
    assert run_hour(models) == 0
    assert sizes(models) == before


def test_after_a_round_that_saved_nothing_it_rests_until_something_comes(models: ModelHub):
    upload(models, ["base", "t1"])
    clock = models.hub.clock
    assert isinstance(clock, ManualClock)

    def rounds() -> int:
        optimise(JobContext(models.hub, 1, {}))
        with models.hub.db.read() as session:
            return load_progress(session)[0].rounds

    first = rounds()
    clock.advance(3600)
    assert rounds() == first
    upload(models, ["t2"])
    assert rounds() == first + 1
    clock.advance(optimising.ROUND_S + 1)
    assert rounds() == first + 2


def test_death_at_any_call_leaves_every_byte_and_the_next_run_finishes(
    models: ModelHub, tmp_path: Path
):
    upload(models, ["t1", "t2", "base"])
    make_old(models)
    context = {"whole": 1}
    with copied(models, tmp_path, 0) as copy:
        with Tripwire(copy.hub, lambda _n: None) as wire:
            optimise(JobContext(copy.hub, 1, context))
        collect(copy.hub, now=True)
        expected, calls = copy.stored_nbytes(), wire.calls
    for death in range(0, calls, max(1, calls // 8)):
        with copied(models, tmp_path, death + 1) as copy:

            def die(n: int, death: int = death) -> None:
                if n >= death:
                    raise Killed

            with pytest.raises(Killed), Tripwire(copy.hub, die):
                optimise(JobContext(copy.hub, 1, context))
            copy.check(deep=False)
            optimise(JobContext(copy.hub, 2, context))
            assert copy.stored_nbytes() <= 1.005 * expected
            assert depths(copy) == 0
            copy.check()


def test_it_is_owed_every_hour_and_by_command(pushed: Path, clade: Clade, models: ModelHub):
    assert PERIODS["optimise"] == 3600
    models.run_jobs()
    models.hub.db.run(lambda session: session.execute(update(Encoding).values(encoder=0)))
    queue_due(models.hub, {"optimise": 3600})
    with models.hub.db.read() as session:
        kinds = session.scalars(select(Job.kind).where(Job.state == "queued")).all()
    assert "optimise" in kinds
    facts = clade("optimise", "--wait", "--data", pushed, "--json").facts
    assert (facts["queued"], facts["saved_bytes"]) == (False, 0)
    assert facts["rounds"] >= 1
