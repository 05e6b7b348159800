"""The whole life of a family on SQLite and a directory, and on PostgreSQL and S3."""

import threading

import pytest

from app.deltas.encode import encode_file
from app.deltas.swap import SwapRefused
from app.families.listing import list_families
from app.gc.collect import collect
from app.jobs.context import JobContext
from app.stats import measure
from tests.fixtures.models import ModelHub, as_bf16, base_weights, tuned

TENSOR = "embed_tokens.weight"


def test_family_grows_regroups_shrinks_and_goes(any_models: ModelHub):
    models = any_models
    base = as_bf16(base_weights())
    models.push("alice/one", tuned(base, 1, 5e-4))
    models.push("bob/two", tuned(base, 2, 5e-4))
    models.run_jobs()
    models.push("carol/base", base)
    models.run_jobs()
    collect(models.hub, now=True)
    assert models.base_of("alice/one", TENSOR) == models.base_of("bob/two", TENSOR) == "carol/base"
    with models.hub.db.read() as session:
        [family], _ = list_families(session, None)
    assert family.root == "carol/base"
    models.check()
    stats = measure(models.hub)
    assert stats.stored_bytes == models.bucket_nbytes()
    assert stats.overhead.retired == 0

    models.delete_repo("carol/base")
    collect(models.hub, now=True)
    models.check()
    models.delete_repo("alice/one")
    models.delete_repo("bob/two")
    collect(models.hub, now=True)
    assert models.bucket_nbytes() == 0


def test_two_workers_on_the_same_files_do_no_harm(any_models: ModelHub):
    models = any_models
    base = as_bf16(base_weights())
    models.push("alice/base", base)
    models.push("alice/tune", tuned(base, 1))
    files = dict.fromkeys(("alice/base", "alice/tune"), 0)
    for name in files:
        files[name] = file_id_of(models, name)
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def work(number: int, file_id: int) -> None:
        start.wait()
        try:
            encode_file(JobContext(models.hub, 1000 + number, {"file_id": file_id}))
        except SwapRefused:
            pass
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(n, file_id))
        for n, file_id in enumerate([*files.values(), *files.values()])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    models.run_jobs()
    collect(models.hub, now=True)
    models.check()
    assert all(each.final for each in models.encodings("alice/tune").values())


@pytest.mark.parametrize("rounds", [3])
def test_collections_and_jobs_at_the_same_time_keep_everything(any_models: ModelHub, rounds: int):
    models = any_models
    base = as_bf16(base_weights())
    over = threading.Event()
    failures: list[BaseException] = []

    def collector() -> None:
        while not over.is_set():
            try:
                collect(models.hub, now=True)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
                return

    thread = threading.Thread(target=collector)
    thread.start()
    try:
        for n in range(rounds):
            models.push(f"alice/m{n}", tuned(base, n))
            models.run_jobs()
            if n:
                models.delete_repo(f"alice/m{n - 1}")
    finally:
        over.set()
        thread.join()
    assert not failures
    models.check()


def file_id_of(models: ModelHub, repo: str) -> int:
    import hashlib

    from sqlalchemy import select

    from app.db.tables import File

    digest = hashlib.sha256(models.pushed[repo]["model.safetensors"]).digest()
    with models.hub.db.read() as session:
        return session.scalars(select(File.id).where(File.sha256 == digest)).one()
