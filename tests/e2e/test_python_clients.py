"""What programs use of huggingface_hub beside up- and downloads: file system and scheduler."""

import json
import sys
from pathlib import Path

from tests.fixtures.server import Server

FILE_SYSTEM = """
import json, sys
from huggingface_hub import HfApi, HfFileSystem

repo = sys.argv[1]
HfApi().create_repo(repo)
fs = HfFileSystem()
big = bytes(range(256)) * 50_000
with fs.open(f"{repo}/data/big.bin", "wb") as file:
    file.write(big[:5_000_000])
    file.write(big[5_000_000:])
fs.pipe_file(f"{repo}/data/small.txt", b"small")
fs.cp_file(f"{repo}/data/big.bin", f"{repo}/data/copy.bin")
with fs.open(f"{repo}/data/copy.bin") as file:
    file.seek(1_000_000)
    part = file.read(1_000)
facts = {
    "glob": sorted(fs.glob(f"{repo}/data/*.bin")),
    "same": fs.cat_file(f"{repo}/data/copy.bin") == big and part == big[1_000_000:1_001_000],
    "size": fs.info(f"{repo}/data/big.bin")["size"],
    "found": sorted(fs.find(f"{repo}@main/data")),
}
fs.rm(f"{repo}/data", recursive=True)
facts["left"] = fs.exists(f"{repo}/data")
print(json.dumps(facts))
"""

SCHEDULER = """
import json, sys
from pathlib import Path
from huggingface_hub import CommitScheduler, HfApi

repo, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir()
with CommitScheduler(repo_id=repo, folder_path=folder, path_in_repo="log", every=60,
                     repo_type="dataset") as scheduler:
    for number in range(3):
        with scheduler.lock, (folder / "lines.jsonl").open("a") as file:
            file.write(json.dumps({"number": number}) + "\\n")
        scheduler.trigger().result()
api = HfApi()
held = api.hf_hub_download(repo, "log/lines.jsonl", repo_type="dataset")
print(json.dumps({
    "lines": Path(held).read_text().splitlines(),
    "commits": len(api.list_repo_commits(repo, repo_type="dataset")),
}))
"""


def run(server: Server, code: str, *arguments: str) -> dict:
    out = server.run(
        sys.executable, "-c", code, *arguments, HF_HUB_DISABLE_PROGRESS_BARS="1"
    ).stdout
    return json.loads(out.splitlines()[-1])


def test_files_are_written_copied_and_read_in_parts(shared_server: Server) -> None:
    repo = "clade/files"
    assert run(shared_server, FILE_SYSTEM, repo) == {
        "glob": [f"{repo}/data/big.bin", f"{repo}/data/copy.bin"],
        "same": True,
        "size": 12_800_000,
        "found": [f"{repo}@main/data/{name}" for name in ("big.bin", "copy.bin", "small.txt")],
        "left": False,
    }


def test_a_folder_is_committed_in_the_background(shared_server: Server, tmp_path: Path) -> None:
    facts = run(shared_server, SCHEDULER, "clade/log", str(tmp_path / "log"))
    assert [json.loads(line)["number"] for line in facts["lines"]] == [0, 1, 2]
    assert facts["commits"] >= 4
