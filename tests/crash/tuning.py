"""A fine-tuning job from its file to its end, as its owner and a trainer do it."""

from sqlalchemy import select

from app.catalog.repos import delete_repo
from app.db.tables import Repo, TuningFile, TuningJob
from app.jobs.context import JobContext
from app.restore.bulk import read_file
from app.tuning import control, leasing, losing, results
from app.tuning.creating import NewJob, create_job
from app.tuning.pruning import KEPT, prune_checkpoints
from app.tuning.shelf import SHELF, delete_file, store_file
from app.tuning.states import FINAL
from app.tuning.wishes import Wishes
from tests.crash.stage import Act, Stage

DATA = b'{"text": "learn this"}\n' * 50
HYPER = {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0}


def fine_tune(base: str) -> Act:
    """What an earlier attempt left is cancelled first; nothing of it is left in the end."""

    def act(stage: Stage) -> None:
        hub, alice = stage.hub, stage.alice
        _cancel_all(stage)
        file = store_file(hub, alice, [DATA], filename="a.jsonl", purpose="fine-tune")
        wishes = Wishes.model_validate({"publish": {"repo": "alice/tuned"}})
        asked = NewJob(f"alice/{base}", file.name, None, HYPER, wishes, None, 0)
        job = create_job(hub, alice, asked, key=None)
        unread = leasing.claim_unread(hub, "looker")
        assert unread is not None
        leasing.validated(hub, job.name, unread.fence)
        where = {"base": job.base, "commit": job.commit, "is_full": False}
        [lost] = leasing.claim_jobs(hub, "dead", most=9, **where)
        leasing.beat(hub, leasing.Report(job.name, lost.fence, 1, steps=1, is_running=True))
        assert losing.lose_all(hub, "dead") == 1
        [claim] = leasing.claim_jobs(hub, "trainer", most=9, **where)
        leasing.beat(hub, leasing.Report(job.name, claim.fence, 1, steps=1, is_running=True))
        for step in (1, 2, 3):
            state = b"state %d" % step
            results.keep_checkpoint(hub, job.name, claim.fence, step, {}, [state], len(state))
        results.keep_results(hub, job.name, claim.fence, [b"step,loss\n"])
        results.open_publication(hub, job.name, claim.fence)
        leasing.end(hub, job.name, claim.fence, "succeeded", result={})
        assert read_file(hub, file.file_id, file.nbytes) == DATA
        delete_file(hub, alice, file.name)
        stage.clock.advance(KEPT.total_seconds() + 60)
        prune_checkpoints(JobContext(hub, 0, {}))
        for key in (f"dataset/alice/{SHELF}", "model/alice/tuned"):
            _delete(stage, key)

    return act


def _cancel_all(stage: Stage) -> None:
    hub = stage.hub
    with hub.db.read() as session:
        names = session.scalars(select(TuningJob.name).where(TuningJob.status.not_in(FINAL))).all()
        rows = session.scalars(select(TuningFile)).all()
    for name in names:
        control.cancel(hub, stage.alice, name)
    for row in rows:  # what was acknowledged, and what was not, is whole
        assert len(read_file(hub, row.file_id, row.nbytes)) == row.nbytes


def _delete(stage: Stage, key: str) -> None:
    with stage.hub.db.read() as session:
        repo = session.scalar(select(Repo).where(Repo.key == key))
    if repo is not None:
        delete_repo(stage.hub, repo)
