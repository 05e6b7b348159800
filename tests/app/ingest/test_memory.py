"""A big file passes through in bounded memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.hub import Hub
from app.settings import Settings
from tests.fixtures.ingested import make_repo

NBYTES = 512 << 20
PEAK_NBYTES = 320 << 20
PROGRAM = """
import json, os, struct, sys
from pathlib import Path
from app.db import Database
from app.hub import Hub, load_instance_facts
from app.ingest.stream import ingest_stream
from app.settings import Settings
from app.store.factory import open_store

kind, data, repo_id, nbytes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
settings = Settings(data=data)
hub = Hub(
    settings=settings,
    db=Database(settings.resolved_database_url),
    store=open_store(settings.resolved_store_url),
)
load_instance_facts(hub)
count = 300
each = nbytes // count
text = json.dumps({
    f"model.{i}": {"dtype": "U8", "shape": [each], "data_offsets": [i * each, (i + 1) * each]}
    for i in range(count)
}).encode() if kind == "safetensors" else b"binary"
head = struct.pack("<Q", len(text)) + text
block = os.urandom(1 << 20)

def chunks():
    yield head
    left, number = count * each, 0
    while left:
        chunk = struct.pack("<Q", number) + block[8:]
        yield chunk[:left]
        left -= min(left, len(chunk))
        number += 1

file = ingest_stream(hub, chunks(), nbytes=len(head) + count * each, sha256=None, repo_id=repo_id)
hub.close()
# Not ru_maxrss: that counts the process this one was forked from.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak_nbytes = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps({"nbytes": file.nbytes, "peak_nbytes": peak_nbytes}))
"""


@pytest.mark.parametrize("kind", ["safetensors", "opaque"])
def test_big_stream_stays_below_its_memory_bound(hub: Hub, embedded_settings: Settings, kind: str):
    repo_id = make_repo(hub)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, embedded_settings.data, str(repo_id), str(NBYTES)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["nbytes"] > NBYTES - 1000
    assert report["peak_nbytes"] < PEAK_NBYTES < NBYTES
    shutil.rmtree(embedded_settings.data / "objects")
