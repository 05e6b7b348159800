"""What becomes of repositories: made, squashed, branched, moved, hidden, deleted."""

import hashlib

from sqlalchemy import select

from app.catalog.moving import move_repo
from app.catalog.refs import create_branch, delete_branch
from app.catalog.repos import delete_repo, set_private
from app.catalog.rewriting import forget_files
from app.catalog.squash import squash
from app.db.tables import Ref, Repo
from tests.crash.stage import MAIN, Act, Stage


def create(repo: str) -> Act:
    """A repository, unless it has its first commit already."""
    return lambda stage: None if _exists(stage, repo) else stage.create(repo)


def _exists(stage: Stage, repo: str) -> bool:
    with stage.hub.db.read() as session:
        of_repo = select(Ref.name).join(Repo, Repo.id == Ref.repo_id)
        return session.scalar(of_repo.where(Repo.key == f"model/alice/{repo}")) is not None


def squash_history(repo: str) -> Act:
    def act(stage: Stage) -> None:
        squash(stage.hub, stage.alice, stage.repo(repo), MAIN, "one")

    return act


def branch_and_back(repo: str) -> Act:
    """A branch that comes and goes."""

    def act(stage: Stage) -> None:
        row = stage.repo(repo)
        create_branch(stage.hub, row, f"tmp{len(stage.deaths)}", None)
        delete_branch(stage.hub, row, f"tmp{len(stage.deaths)}")

    return act


def drop_big_file(repo: str, path: str, data: bytes) -> Act:
    def act(stage: Stage) -> None:
        stage.forget(repo, path)
        forget_files(stage.hub, stage.repo(repo), [hashlib.sha256(data).digest()])

    return act


def delete(repo: str) -> Act:
    def act(stage: Stage) -> None:
        stage.forget(repo)
        if _exists(stage, repo):
            delete_repo(stage.hub, stage.repo(repo))

    return act


def move(repo: str, to: str) -> Act:
    """Both names lead to it afterwards."""

    def act(stage: Stage) -> None:
        row = stage.repo(to if _exists(stage, to) else repo)
        move_repo(stage.hub, stage.alice, row, "alice", to)
        for place in [each for each in stage.acknowledged if each[0] == repo]:
            stage.acknowledged[to, *place[1:]] = stage.acknowledged.pop(place)

    return act


def hide(repo: str) -> Act:
    """Private, then public again."""

    def act(stage: Stage) -> None:
        for private in (True, False):
            set_private(stage.hub, stage.repo(repo), private)

    return act
