"""An S3 server behind a bad network: clients notice nothing, or are told to try again."""

import random
import time
from collections.abc import Callable

import pytest

from app.errors import Damaged, HubError
from app.settings import Settings
from app.store import s3
from tests.crash import background, histories, uploads
from tests.crash.samples import BASE, random_bytes
from tests.crash.stage import Act, Stage
from tests.fixtures.models import tuned, weight_file
from tests.torture.bad_network import BadNetwork, bad_network
from tests.torture.budget import Ledger, Summary, budget, piece_s, told

SHARE = 0.05
ANSWER_S = 1.0
MOST_TRIES = 100


def persist(stage: Stage, act: Act, summary: Summary) -> None:
    """As a client does, and a runner: again, for as long as it is told that this may help."""
    for _ in range(MOST_TRIES):
        try:
            act(stage)
        except HubError as error:
            if not error.transient or isinstance(error, Damaged):
                raise
            summary.count("errors that clients saw")
            stage.clock.advance(stage.settings.timers.job_lease_s + 1)
        else:
            return
    raise AssertionError("it never gets through")


def acts(draws: random.Random) -> list[Act]:
    """A history of a repo, of bytes that no other history has."""
    seed = draws.randrange(1 << 30)
    base = tuned(BASE, seed, 1e-2)
    tunes = [weight_file(tuned(base, seed + n, 5e-4)) for n in range(1, 3)]
    name, chunks = f"r{seed}", random_bytes(seed, 150_000)
    return [
        histories.create(name),
        uploads.lfs_upload(name, "a.safetensors", tunes[0]),
        background.run_jobs,
        uploads.lfs_upload(name, "b.safetensors", tunes[1]),
        uploads.multipart_upload(name, "parts.bin", random_bytes(seed + 1, 250_000)),
        uploads.xet_upload(name, "chunks.bin", chunks),
        uploads.inline_commit(name, "README.md", f"# {seed}\n".encode() * 100),
        background.run_jobs,
        background.collect_now,
        background.everything_expires,
        histories.delete(name) if draws.random() < 0.3 else histories.squash_history(name),
    ]


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_faults_are_invisible_or_ask_for_another_try(
    production_settings: Settings,
    s3_server,
    tell: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(s3, "ANSWER_S", ANSWER_S)
    with told("S3 faults", tell) as summary:
        wanted = budget("FAULT_REQUESTS", short=300, long=20_000)
        wanted -= Ledger(summary.attack).totals()["requests"]
        network = BadNetwork(s3_server.endpoint, summary, share=0.0, silence_s=ANSWER_S + 0.5)
        with bad_network(network) as endpoint:
            url = production_settings.resolved_store_url.replace(s3_server.endpoint, endpoint)
            limits = production_settings.limits.model_copy(
                update={"lfs_multipart_nbytes": 200_000, "lfs_part_nbytes": 100_000}
            )
            stage = Stage(
                production_settings.model_copy(update={"store_url": url, "limits": limits})
            )
            network.share, draws = SHARE, random.Random(summary.seed)
            ends = time.monotonic() + piece_s()
            while summary.counts["requests"] < wanted and time.monotonic() < ends:
                for each in acts(draws):
                    persist(stage, each, summary)
                    persist(stage, lambda stage: read_all(stage, summary), summary)
            network.share = 0.0
            stage.finish()
            stage.hub.close()


def read_all(stage: Stage, summary: Summary) -> None:
    """Every acknowledged byte, or an error that asks for another try: never other bytes."""
    for place, data in stage.acknowledged.items():
        assert stage.read(*place) == data, place
        summary.count("files read")
