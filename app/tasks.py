"""Which function does which kind of job: the composition that runners and workers are handed."""

from collections.abc import Mapping

from app.accounts.audit import JOB as AUDIT
from app.accounts.audit import prune_audit
from app.accounts.domains import JOB as SHARE
from app.accounts.domains import share_repo
from app.catalog.indexing import JOB as INDEX
from app.catalog.indexing import index_job
from app.catalog.scanning import JOB as SCAN
from app.catalog.scanning import scan_file
from app.deltas.encode import encode_file
from app.deltas.optimise import JOB as OPTIMISE
from app.deltas.optimise import optimise
from app.deltas.rebase import rebase
from app.deltas.reencode import reencode
from app.deltas.repack import repack
from app.families.membership import measure_membership
from app.gc.periodic import collect_garbage, sweep_store
from app.gc.scrub import scrub
from app.jobs.runner import Handler
from app.mirror.demand import FETCH
from app.mirror.fetching import fetch_job
from app.tuning.pruning import JOB as TUNING
from app.tuning.pruning import prune_checkpoints

HANDLERS: Mapping[str, Handler] = {
    INDEX: index_job,
    SHARE: share_repo,
    AUDIT: prune_audit,
    TUNING: prune_checkpoints,
    SCAN: scan_file,
    "encode": encode_file,
    "rebase": rebase,
    "reencode": reencode,
    OPTIMISE: optimise,
    "repack": repack,
    "family": measure_membership,
    FETCH: fetch_job,
    "gc": collect_garbage,
    "sweep": sweep_store,
    "scrub": scrub,
}
"""Job kind -> handler. Every handler may run twice and may be stopped at any point."""

PERIODS: Mapping[str, float] = {
    "gc": 6 * 3600.0,
    AUDIT: 24 * 3600.0,
    TUNING: 24 * 3600.0,
    OPTIMISE: 3600.0,
    "sweep": 7 * 24 * 3600.0,
    "scrub": 3600.0,
}
"""Job kind -> seconds between two runs, for work that is owed again and again."""
