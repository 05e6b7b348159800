"""A base that many depend on goes away while they are read, step by step."""

import random
from collections.abc import Callable

import pytest

from app.gc.collect import collect
from app.jobs.outbox import enqueue
from app.jobs.runner import run_one
from app.tasks import HANDLERS
from tests.fixtures.models import ModelHub, base_weights, tuned
from tests.torture.budget import budget, told

DAY_S = 24 * 3600
SHAPES = {"embed.weight": (600, 64), "norm.weight": (64,)}


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_dependents_of_a_base_that_goes(models: ModelHub, tell: Callable[[str], None]):
    """All are whole before, during and after; during is after every job and collection."""
    with told("dependents", tell) as summary:
        draws, base = random.Random(summary.seed), base_weights(shapes=SHAPES)
        models.push("alice/base", base)
        models.run_jobs()
        for number in range(budget("DEPENDENTS", short=10, long=100)):
            models.push(f"bob/tune{number}", tuned(base, number))
            summary.count("dependents")
        models.run_jobs()
        nbytes = sum(len(data) for files in models.pushed.values() for data in files.values())
        assert models.stored_nbytes() < 0.9 * nbytes, "they are deltas"
        models.check()

        models.delete_repo("alice/base")
        for _ in range(3):
            models.hub.clock.sleep(DAY_S)
            models.hub.db.run(lambda each: enqueue(each, models.hub, "gc", key="gc", payload={}))
            while run_one(models.hub, HANDLERS, "test"):
                collect(models.hub, now=True)
                summary.count("steps")
                repo = draws.choice(list(models.pushed))
                [(path, data)] = models.pushed[repo].items()
                assert models.read(repo, path) == data
            models.check()
        summary.count("% of their bytes stored", 100 * models.bucket_nbytes() // nbytes)
