"""A search by shape looks at the newest and at relatives, however many there are."""

import pytest
from sqlalchemy import select

from app.db.tables import Repo, Segment, Sketch, TreeEntry
from app.deltas import neighbours
from app.deltas.neighbours import Tensor, same_shape_contents
from tests.fixtures.models import ModelHub, base_weights

NAME = "layers.0.up.weight"


def content_of(models: ModelHub, name: str) -> int:
    """The content that a repository has under ``NAME``."""
    with models.hub.db.read() as session:
        return session.scalars(
            select(Segment.content_id)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .join(Repo, Repo.id == TreeEntry.repo_id)
            .where(Repo.name == name, Segment.name == NAME)
        ).one()


def test_oldest_are_left_out_unless_they_are_relatives(
    any_models: ModelHub, monkeypatch: pytest.MonkeyPatch
):
    models = any_models
    names = ["oldest", "older", "newer", "newest"]
    for seed, name in enumerate(names):
        models.push(f"alice/{name}", base_weights(seed))
        models.run_jobs()
    contents = {name: content_of(models, name) for name in names}
    with models.hub.db.read() as session:
        keys = dict(session.execute(select(Sketch.content_id, Sketch.shape_key)).all())
        segment = session.scalars(
            select(Segment).where(Segment.content_id == contents["newest"])
        ).one()
        oldest = session.scalars(select(Repo.id).where(Repo.name == "oldest")).one()
    sought = Tensor(
        content_id=contents["newest"],
        name=NAME,
        dtype=str(segment.dtype),
        nbytes=segment.nbytes,
        shape=(),
        shape_key=keys[contents["newest"]],
    )

    def found(*preferred: int) -> set[str]:
        with models.hub.db.read() as session:
            ids = same_shape_contents(session, sought, None, preferred)
        return {name for name, content in contents.items() if content in ids}

    assert found() == {"oldest", "older", "newer"}
    same_shape = sorted((i for i, key in keys.items() if key == sought.shape_key), reverse=True)
    monkeypatch.setattr(neighbours, "LOOKED_AT", same_shape.index(contents["newer"]) + 1)
    assert found() == {"newer"}
    assert found(oldest) == {"oldest", "newer"}
