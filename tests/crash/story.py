"""What is done to the hub while it dies: every protocol of docs/durability.md, act by act."""

from app.catalog.attributes import INITIAL_ATTRIBUTES
from tests.crash.background import (
    collect_now,
    everything_expires,
    job_by_id,
    periodic_jobs,
    reencode,
    reencode_by_budget,
    regroup_in_vain,
    run_jobs,
    zombie,
)
from tests.crash.damage import (
    chunks_rot,
    healed,
    read_what_rotted,
    replacements_rot,
    sweep_what_is_lost,
)
from tests.crash.histories import (
    branch_and_back,
    create,
    delete,
    drop_big_file,
    hide,
    move,
    squash_history,
)
from tests.crash.samples import BASE, CHUNKS, PARTS, TUNED, random_bytes
from tests.crash.stage import Act
from tests.crash.tuning import fine_tune
from tests.crash.uploads import (
    abandoned_xorb,
    git_push,
    inline_commit,
    lfs_upload,
    multipart_upload,
    slow_upload,
    xet_from_files,
    xet_upload,
)
from tests.fixtures.models import weight_file

WEIGHTS = "model.safetensors"

ACTS: list[tuple[str, Act]] = [
    ("create", create("one")),
    ("create another", create("two")),
    ("LFS upload of a fine-tune", lfs_upload("one", WEIGHTS, TUNED[0])),
    ("encode", run_jobs),
    ("LFS upload of another", lfs_upload("two", WEIGHTS, TUNED[1])),
    ("LFS upload of the base", lfs_upload("two", "base.safetensors", weight_file(BASE))),
    ("encode and re-base", run_jobs),
    ("slow upload", slow_upload("one", "slow.bin", random_bytes(3, 5 << 20))),
    ("job by its id", job_by_id),
    ("multipart upload", multipart_upload("one", "parts.bin", PARTS)),
    ("inline commit", inline_commit("one", "README.md", b"# One\n" * 200)),
    ("Xet upload", xet_upload("two", "chunks.bin", CHUNKS)),
    ("Xet upload of known chunks", xet_from_files("two", "again.bin", CHUNKS)),
    ("abandoned xorb", abandoned_xorb),
    ("git push", git_push("one", "plain.txt", b"pushed\n" * 50, ("w.bin", TUNED[0]))),
    ("encode all of it", run_jobs),
    ("collect", collect_now),
    ("re-encode", reencode),
    ("re-encode by budget", reencode_by_budget),
    ("hide", hide("one")),
    ("branch", branch_and_back("one")),
    ("remove a big file", drop_big_file("one", "parts.bin", PARTS)),
    ("squash", squash_history("one")),
    ("move", move("two", "three")),
    ("collect again", collect_now),
    ("delete", delete("one")),
    ("periodic jobs that regroup in vain", regroup_in_vain),
    ("periodic jobs", periodic_jobs),
    ("zombie", zombie),
    ("everything expires", everything_expires),
    ("jobs to the end", run_jobs),
    ("fine-tune", fine_tune("three")),
    ("collect what was trained on", collect_now),
    ("delete the other", delete("three")),
    ("start over", create("four")),
    ("a file", lfs_upload("four", WEIGHTS, TUNED[2])),
    ("chunks", xet_upload("four", "chunks.bin", CHUNKS)),
    ("collect all but these", collect_now),
]
"""On a store that keeps what it is given."""

ATTRIBUTES = inline_commit("four", ".gitattributes", INITIAL_ATTRIBUTES)
FILES = [
    lfs_upload("four", WEIGHTS, TUNED[2]),
    xet_upload("four", "chunks.bin", CHUNKS),
    ATTRIBUTES,
]

DAMAGE: list[tuple[str, Act]] = [
    ("replacements rot", healed(replacements_rot, ATTRIBUTES)),
    ("rot that readers find", healed(read_what_rotted, *FILES)),
    ("rot that an upload finds", healed(chunks_rot, *FILES)),
    ("loss that a sweep finds", healed(sweep_what_is_lost, *FILES)),
]
"""On one that does not."""
