"""A repository's weights as one model: its tensors by name, over all files of its head."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.listing import list_files
from app.db.tables import Repo, Segment
from app.deltas.neighbours import Tensor
from app.deltas.relatives import head_tree
from app.deltas.tensors import tensor_of
from app.families.signature import architecture_signature
from app.hub import Hub


@dataclass(frozen=True, slots=True)
class Model:
    """The tensors of a repository."""

    repo: Repo
    tensors: dict[str, Tensor]

    @property
    def signature(self) -> str:
        """See :mod:`app.families.signature`."""
        return architecture_signature((name, each.shape) for name, each in self.tensors.items())

    @property
    def dtype(self) -> str:
        """That of most of its bytes; empty without tensors."""
        nbytes: Counter[str] = Counter()
        for each in self.tensors.values():
            nbytes[each.dtype] += each.nbytes
        return max(sorted(nbytes), key=lambda dtype: nbytes[dtype], default="")


def load_model(session: Session, hub: Hub, repo: Repo) -> Model:
    """The model at the head of a repository; it has no tensors if there are none.

    Of files that hold a tensor of the same name (a consolidated copy beside shards), the first in
    path order counts.
    """
    tree = head_tree(session, hub, repo)
    files = [] if tree is None else list_files(session, repo.id, tree)
    order = {entry.file_id: place for place, entry in reversed(list(enumerate(files)))}
    rows = session.execute(
        select(Segment)
        .where(Segment.file_id.in_(list(order)), Segment.role == "tensor")
        .order_by(Segment.file_id, Segment.start)
    ).scalars()
    tensors: dict[str, Tensor] = {}
    for row in sorted(rows, key=lambda row: order[row.file_id]):
        if row.name is not None:
            tensors.setdefault(row.name, tensor_of(row))
    return Model(repo, tensors)
