"""Dedup domains: private bytes are found again in their own namespace only, and nobody can tell."""

import hashlib
import random

import pytest
from sqlalchemy import func, select, update

from app.accounts.domains import SHARED, set_dedup, share_repo
from app.accounts.tokens import Principal
from app.catalog.commits import apply_commit
from app.catalog.operations import AddLfsFile
from app.catalog.repos import change_settings
from app.db.tables import Content, Encoding, File, Repo
from app.deltas.reencode import owe_reencoding
from app.deltas.repack import repack_objects
from app.errors import HubError, MissingUploads, NotFound
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.stream import ingest_stream
from app.jobs.context import JobContext
from app.jobs.runner import drain
from app.lfs.batch import WantedObject, plan_uploads
from app.tasks import HANDLERS
from tests.fixtures.models import ModelHub, base_weights, tuned, weight_file
from tests.fixtures.traces import traced

DATA = weight_file(base_weights())
OTHER = weight_file(base_weights(1))
SHA256 = hashlib.sha256(DATA).digest()


def domains(hub: Hub, table: type[File] | type[Content] = File) -> list[int]:
    with hub.db.read() as session:
        return sorted(session.scalars(select(table.domain)).all())


def send(hub: Hub, repo: Repo, data: bytes) -> int:
    digest = hashlib.sha256(data).digest()
    return ingest_stream(hub, [data], nbytes=len(data), sha256=digest, repo_id=repo.id).file_id


def owner(models: ModelHub, name: str) -> int:
    return models.user(name).account_id


def test_private_bytes_are_stored_per_namespace(any_models: ModelHub):
    models = any_models
    models.push("bob/secret", {"model.safetensors": DATA}, private=True)
    models.push("bob/again", {"model.safetensors": DATA}, private=True)
    models.push("alice/mine", {"model.safetensors": DATA}, private=True)
    own = [each for each in domains(models.hub) if each != SHARED]
    assert sorted(set(own)) == sorted([owner(models, "bob"), owner(models, "alice")])
    models.run_jobs()
    models.check()


def test_private_bytes_find_public_ones(models: ModelHub):
    models.push("alice/base", {"model.safetensors": DATA})
    models.run_jobs()
    before = models.stored_nbytes()
    models.push("bob/copy", {"model.safetensors": DATA}, private=True)
    assert models.stored_nbytes() - before < len(DATA) // 20
    models.run_jobs()
    models.check()


def test_what_is_public_finds_no_private_bytes(models: ModelHub):
    models.push("bob/secret", {"model.safetensors": DATA}, private=True)
    models.run_jobs()
    models.push("alice/guess", {"model.safetensors": DATA})
    fresh = models.encodings("alice/guess").values()
    assert {each.final for each in fresh} == {False}
    assert {each.codec for each in fresh} == {"raw"}
    models.run_jobs()
    assert {each.base_id for each in models.encodings("alice/guess").values()} == {None}
    models.check()


@pytest.mark.parametrize("gated", [False, "manual"])
def test_published_bytes_become_everybodys(models: ModelHub, gated):
    repo = models.push("bob/secret", {"model.safetensors": DATA}, private=True)
    models.run_jobs()
    assert SHARED not in domains(models.hub, Content)[-3:]
    change_settings(models.hub, repo, private=False, gated=gated)
    drain(models.hub, HANDLERS)
    bobs = owner(models, "bob")
    assert (bobs in domains(models.hub, Content)) == bool(gated)
    before = models.contents()
    models.push("carol/same", {"model.safetensors": DATA})
    assert (models.contents() > before + 3) == bool(gated)
    models.run_jobs()
    models.check()


def mixed_packs(hub: Hub) -> list[int]:
    """Packs in which bytes of several domains lie."""
    with hub.db.read() as session:
        return list(
            session.scalars(
                select(Encoding.object_id)
                .join(Content, Content.id == Encoding.content_id)
                .group_by(Encoding.object_id)
                .having(func.min(Content.domain) != func.max(Content.domain))
            )
        )


def encode_all_anew(models: ModelHub) -> None:
    """In one job, whoever they belong to."""
    with models.hub.db.write() as session:
        session.execute(update(Encoding).values(encoder=0))
        owe_reencoding(session, models.hub)
    models.run_jobs()


def test_bytes_of_several_domains_never_lie_in_one_pack(models: ModelHub):
    base = base_weights()
    models.push("bob/secret", tuned(base, 1), private=True)
    models.push("alice/secret", tuned(base, 2), private=True)
    models.run_jobs()
    models.push("carol/base", base)
    models.run_jobs()
    encode_all_anew(models)
    assert len(set(domains(models.hub, Content))) == 3
    assert mixed_packs(models.hub) == []
    models.check()


def test_packs_are_parted_when_something_in_them_is_published(models: ModelHub):
    hub = models.hub
    repos = [models.push(f"bob/{n}", tuned(base_weights(), n), private=True) for n in range(2)]
    models.run_jobs()
    with hub.db.read() as session:
        objects = session.scalars(select(Encoding.object_id).where(Encoding.final).distinct()).all()
    joined = JobContext(hub, 0, {})
    repack_objects(joined, objects)
    change_settings(hub, repos[0], private=False)
    share_repo(JobContext(hub, 0, {"repo_id": repos[0].id}))
    assert mixed_packs(hub)
    drain(hub, HANDLERS)
    assert mixed_packs(hub) == []
    models.check()


def test_an_organisation_may_share_with_the_hub(models: ModelHub):
    models.user("alice"), models.user("bob")
    set_dedup(models.hub, "alice", "hub")
    set_dedup(models.hub, "bob", "hub")
    models.push("bob/one", {"model.safetensors": DATA}, private=True)
    before = models.contents()
    models.push("alice/two", {"model.safetensors": DATA}, private=True)
    assert models.contents() - before <= 1
    set_dedup(models.hub, "alice", None)
    models.push("alice/three", {"model.safetensors": OTHER}, private=True)
    assert owner(models, "alice") in domains(models.hub)
    with pytest.raises(NotFound):
        set_dedup(models.hub, "nobody", "hub")


def trace_of(hub: Hub, principal: Principal, repo: Repo, data: bytes) -> list[str]:
    """A stranger's whole attempt: asks, tries to name the bytes, sends them, names them."""
    digest = hashlib.sha256(data).digest()
    wanted = [WantedObject(digest.hex(), len(data))]
    name = [AddLfsFile("model.safetensors", digest, len(data))]
    with traced(hub) as trace:
        answer = plan_uploads(hub, principal, repo, wanted, can_multipart=False)
        trace.append(f"sends: {answer.answers[0].link is not None}")
        try:
            apply_commit(hub, principal, repo, "refs/heads/main", name, title="guess")
        except HubError as error:
            trace.append(type(error).__name__)
        send(hub, repo, data)
        apply_commit(hub, principal, repo, "refs/heads/main", name, title="sent")
    return trace


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("gated", [False, True])
def test_nothing_is_done_otherwise_for_bytes_that_others_hide(
    any_models: ModelHub, private: bool, gated: bool
):
    models = any_models
    secret = models.push("bob/secret", {"model.safetensors": DATA}, private=not gated)
    if gated:
        # Bytes that were open for a moment are known; these were sent behind the gate.
        change_settings(models.hub, secret, gated="manual")
        models.remove("bob/secret", "model.safetensors")
    hidden = DATA
    if gated:
        hidden = weight_file(base_weights(2))
        models.push("bob/secret", {"model.safetensors": hidden})
    models.run_jobs()
    stranger = models.user("mallory")
    traces = []
    for number, data in enumerate((hidden, weight_file(base_weights(7)))):
        repo = create_repo(models.hub, stranger, "model", None, f"guess{number}", private=private)
        traces.append(trace_of(models.hub, stranger, repo, data))
    assert traces[0] == traces[1]
    assert "MissingUploads" in traces[0]
    models.run_jobs()
    models.check()


def test_a_stranger_may_not_name_bytes_by_their_digest(models: ModelHub):
    models.push("bob/secret", {"model.safetensors": DATA}, private=True)
    mallory = models.user("mallory")
    repo = create_repo(models.hub, mallory, "model", None, "guess")
    size = random.Random(0).choice([None, len(DATA)])
    with pytest.raises(MissingUploads):
        apply_commit(
            models.hub,
            mallory,
            repo,
            "refs/heads/main",
            [AddLfsFile("x", SHA256, size)],
            title="steal",
        )
    with models.hub.db.read() as session:
        assert session.scalars(select(Encoding.id)).first() is not None
