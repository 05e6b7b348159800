"""The whole history of a repo, and what of it heads reach."""

from collections.abc import Container, Iterable, Mapping

from sqlalchemy.orm import Session

from app.catalog.ancestry import Step, read_step, select_steps


def whole_history(session: Session, repo_id: int) -> dict[str, Step]:
    """Every commit of a repo by id, whether a ref reaches it or not.

    For work on all of it; what only walks back uses :mod:`app.catalog.ancestry`.
    """
    return {row.oid: read_step(row) for row in session.execute(select_steps(repo_id))}


def reached_from(
    steps: Mapping[str, Step], heads: Iterable[str], *, without: Container[str] = ()
) -> list[str]:
    """Ids of the commits that heads reach, each once, every one after all of its parents.

    The walk does not enter those ``without`` which the answer is wanted.
    """
    order: list[str] = []
    entered: set[str] = set()
    stack = [(head, False) for head in heads]
    while stack:
        oid, parents_done = stack.pop()
        if parents_done:
            order.append(oid)
        elif oid in steps and oid not in entered and oid not in without:
            entered.add(oid)
            stack.append((oid, True))
            stack += [(parent, False) for parent in steps[oid].parents]
    return order
