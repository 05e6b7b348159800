"""What is foretold of a removal happens: deleted for real, collected, repacked, compared."""

import hashlib

import pytest

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog.refs import create_branch, delete_branch
from app.catalog.rewriting import forget_files
from app.catalog.squash import squash
from app.errors import InvalidRequest, RevisionNotFound
from app.explain.account import Freed, Holding, forecast, hold, survey
from app.explain.removals import Removal, held_files
from app.gc.collect import collect
from app.jobs.outbox import enqueue
from tests.fixtures.models import ModelHub, base_weights, tuned, weight_file

TENSOR = "embed_tokens.weight"


@pytest.fixture
def root(any_models: ModelHub) -> Principal:
    """An administrator, who is told everything."""
    create_user(any_models.hub, "root", token="hf_root", admin=True)
    with any_models.hub.db.read() as session:
        return authenticate(session, "hf_root")


def settle(models: ModelHub) -> int:
    """Work off what is owed, then collect; what the bucket holds."""
    for _ in range(2):
        models.run_jobs()
        collect(models.hub, now=True)
    return models.bucket_nbytes()


def foretold(models: ModelHub, who: Principal, repo: str, removal: Removal | None = None) -> Freed:
    row = models.repo(repo)
    with models.hub.db.read() as session:
        files = held_files(session, models.hub, row, removal or Removal())
        return forecast(session, who, survey(session, who, row, files))


def held(models: ModelHub, who: Principal, repo: str) -> Holding:
    row = models.repo(repo)
    with models.hub.db.read() as session:
        files = held_files(session, models.hub, row, Removal())
        return hold(session, who, survey(session, who, row, files))


def test_deleting_a_model_frees_what_was_foretold(any_models: ModelHub, root: Principal):
    models, base = any_models, base_weights()
    other = base_weights(9)
    models.push("alice/base", base)
    models.push("bob/mixed", {**base_weights(4), "layers.0.up.weight": base["layers.0.up.weight"]})
    models.run_jobs()
    models.push("alice/tune", {**tuned(base, 1), "layers.1.up.weight": base["layers.1.up.weight"]})
    models.push("carol/alone", other)
    before = settle(models)
    encoded = models.stored_nbytes()
    for repo in ("carol/alone", "alice/tune", "bob/mixed"):
        said = foretold(models, root, repo)
        own = foretold(models, models.user(repo.partition("/")[0]), repo)
        assert said.bucket is not None
        assert own.bucket is None
        assert own.freed_nbytes == said.freed_nbytes > 0
        models.delete_repo(repo)
        collect(models.hub, now=True)
        assert before - models.bucket_nbytes() == said.bucket.at_once
        assert encoded - models.stored_nbytes() == said.freed_nbytes
        after = settle(models)
        assert before - after == said.bucket.at_once + said.bucket.after_repacking
        before, encoded = after, models.stored_nbytes()
        models.check(deep=False)


def test_a_base_is_pinned_by_its_dependents_and_handed_over(any_models: ModelHub, root: Principal):
    models, base = any_models, base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("alice/own", tuned(base, 1))
    models.push("bob/tune", tuned(base, 2))
    before = settle(models)
    encoded = models.stored_nbytes()
    said = foretold(models, root, "alice/base")
    assert {link.home.repo_id for link in said.pinned_by if link.home} == {"alice/own", "bob/tune"}
    assert said.pinned_nbytes > said.freed_nbytes
    assert said.handover_nbytes
    models.delete_repo("alice/base")
    collect(models.hub, now=True)
    assert encoded - models.stored_nbytes() == said.freed_nbytes
    assert said.bucket is not None
    assert before - models.bucket_nbytes() == said.bucket.at_once
    pinned = models.bucket_nbytes()
    models.hub.db.run(lambda session: enqueue(session, models.hub, "gc", key="now", payload={}))
    handed_over = pinned - settle(models)
    assert abs(handed_over - said.handover_nbytes) < 0.03 * said.pinned_nbytes
    models.check()


def test_squashing_deleting_a_branch_and_forgetting_a_file_free_what_was_foretold(
    any_models: ModelHub, root: Principal
):
    models = any_models
    first, second, third = (weight_file(base_weights(n)) for n in range(3))
    row = models.push("alice/m", {"model.safetensors": first, "other.safetensors": third})
    create_branch(models.hub, row, "early", None)
    models.push("alice/m", {"model.safetensors": second})
    models.pushed["alice/m"]["other.safetensors"] = third
    before = settle(models)
    nothing = foretold(models, root, "alice/m", Removal("squash", "main"))
    assert (nothing.files, nothing.freed_nbytes) == (0, 0), "a branch still shows it"
    steps = [
        (Removal("ref", "early"), lambda: delete_branch(models.hub, row, "early"), 0),
        (
            Removal("squash", "main"),
            lambda: squash(models.hub, models.user("alice"), row, "refs/heads/main", "one"),
            1,
        ),
        (
            Removal("file", "other.safetensors"),
            lambda: forget_files(models.hub, row, [hashlib.sha256(third).digest()]),
            1,
        ),
    ]
    for removal, remove, files in steps:
        said = foretold(models, root, "alice/m", removal)
        assert (said.files, bool(said.freed_nbytes)) == (files, bool(files)), removal
        assert said.bucket is not None
        remove()
        waiting = foretold(models, root, "alice/m").waiting_nbytes
        assert waiting == (said.freed_nbytes if removal.kind == "squash" else 0)
        collect(models.hub, now=True)
        assert before - models.bucket_nbytes() == said.bucket.at_once
        after = settle(models)
        assert before - after == said.bucket.at_once + said.bucket.after_repacking
        before = after


def test_what_a_repo_holds_and_on_whom_it_depends(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/tune", {**tuned(base, 1), "layers.1.up.weight": base["layers.1.up.weight"]})
    models.run_jobs()
    bob, alice = (models.user(name) for name in ("bob", "alice"))
    tune, of = held(models, bob, "bob/tune"), held(models, alice, "alice/base")
    encodings = models.encodings("bob/tune")
    deltas = [each for each in encodings.values() if each.base_id is not None]
    [link] = tune.bases
    assert link.home is not None
    assert (link.home.repo_id, link.tensors) == ("alice/base", len(deltas))
    assert link.nbytes == sum(each.nbytes for each in deltas)
    [back] = of.dependents
    assert (back.tensors, back.nbytes) == (link.tensors, link.nbytes)
    assert tune.shared_nbytes >= encodings["layers.1.up.weight"].nbytes
    assert tune.stored_nbytes < tune.logical_nbytes


def test_others_private_models_do_not_show(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    alone = held(models, models.user("alice"), "alice/base")
    before = foretold(models, models.user("alice"), "alice/base")
    models.push(
        "bob/secret", {**tuned(base, 1), "lm_head.weight": base["lm_head.weight"]}, private=True
    )
    models.run_jobs()
    assert models.base_of("bob/secret", TENSOR) == "alice/base"
    assert held(models, models.user("alice"), "alice/base") == alone
    assert foretold(models, models.user("alice"), "alice/base") == before
    create_user(models.hub, "root", token="hf_root", admin=True)
    with models.hub.db.read() as session:
        root = authenticate(session, "hf_root")
    everything = foretold(models, root, "alice/base")
    assert everything.freed_nbytes < before.freed_nbytes
    assert [link.home.repo_id for link in everything.pinned_by if link.home] == ["bob/secret"]


def test_what_cannot_be_removed_is_refused(models: ModelHub):
    models.push("alice/m", {"README.md": b"# hi\n"})
    alice = models.user("alice")
    for removal in (Removal("ref", "main"), Removal("file", "README.md")):
        with pytest.raises(InvalidRequest):
            foretold(models, alice, "alice/m", removal)
    for removal in (Removal("ref", "none"), Removal("squash", "none")):
        with pytest.raises(RevisionNotFound):
            foretold(models, alice, "alice/m", removal)
