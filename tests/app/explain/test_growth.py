"""What an account costs does not grow with how often what depends on a repo was copied or shown."""

from collections.abc import Callable

import pytest

from app.accounts.tokens import Principal
from app.db.tables import Repo
from app.explain import account
from app.explain.account import Freed, Holding, forecast, hold, survey
from app.explain.removals import Removal, held_files
from tests.fixtures.meter import Meter
from tests.fixtures.models import ModelHub, base_weights, tuned, weight_file

MOST = 4
"""Repos named, here."""

ROOM = 1.3
"""Deeper trees of the indexes."""

SLACK = {"sqlite": 1_000, "postgresql": 60}

Account = tuple[Holding, Freed]


class Counted:
    """The account of one repo, and its work."""

    def __init__(self, models: ModelHub, repo: Repo, who: Principal) -> None:
        self._models, self._repo, self._who = models, repo, who
        self._engine = models.hub.db.engine
        self._meter = Meter(asleep=True)
        self._meter.watch(self._engine)

    def __call__(self) -> tuple[Account, int]:
        if self._engine.dialect.name == "postgresql":
            with self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
        with self._models.hub.db.read() as session:
            files = held_files(session, self._models.hub, self._repo, Removal())
            before, self._meter.asleep = self._meter.total, False
            ground = survey(session, self._who, self._repo, files)
            told = hold(session, self._who, ground), forecast(session, self._who, ground)
            self._meter.asleep = True
            return told, self._meter.total - before


def copies(models: ModelHub, file: bytes) -> Callable[[int], object]:
    return lambda number: models.push(f"carol/copy-{number}", {"model.safetensors": file})


def versions(models: ModelHub, _file: bytes) -> Callable[[int], object]:
    """Of a repo that go on showing the file."""
    return lambda number: models.push("bob/tune", {"note.txt": b"%d" % number})


@pytest.mark.parametrize(("more_of", "named"), [(copies, MOST), (versions, 1)])
def test_work_does_not_grow_with(
    any_models: ModelHub,
    more_of: Callable[[ModelHub, bytes], Callable[[int], object]],
    named: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(account, "MOST_LINKS", MOST)
    models, base = any_models, base_weights()
    row = models.push("alice/base", base)
    models.run_jobs()
    file = weight_file(tuned(base, 1))
    models.push("bob/tune", {"model.safetensors": file})
    models.run_jobs()
    add, account_of = more_of(models, file), Counted(models, row, models.user("alice"))
    works: list[int] = []
    for numbers in (range(8), range(8, 80)):
        for number in numbers:
            add(number)
        (holding, freed), work = account_of()
        for links in (holding.dependents, freed.pinned_by):
            assert len(links) == named
            assert {(link.tensors, link.nbytes) for link in links} == {
                (links[0].tensors, links[0].nbytes)
            }
        works.append(work)
    few, many = works
    assert many <= ROOM * few + SLACK[models.hub.db.engine.dialect.name], works
