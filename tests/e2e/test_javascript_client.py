"""huggingface.js (``@huggingface/hub`` of npm), as Node runs it (`make test-clients`)."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.server import Server

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js with npm"),
]

PACKAGE = "@huggingface/hub@2.17.5"

STORY = """
import * as hub from "@huggingface/hub";
import { readFileSync } from "node:fs";

const [name, file] = process.argv.slice(2);
const at = { hubUrl: process.env.HF_ENDPOINT, accessToken: process.env.HF_TOKEN };
const repo = { type: "model", name };
const of = { ...at, repo };
const bytes = readFileSync(file);
const text = (said) => new Blob([said]);
const all = async (each) => {
  const found = [];
  for await (const one of each) found.push(one);
  return found;
};
const same = async (blob, wanted) => Buffer.from(await blob.arrayBuffer()).equals(wanted);
const told = { me: (await hub.whoAmI(at)).name };

await hub.createRepo({ ...of, private: true });
await hub.checkRepoAccess(of);
await hub.uploadFiles({ ...of, files: [
  { path: "model.safetensors", content: new Blob([bytes]) },
  { path: "deep/a.txt", content: text("a") },
  { path: "b.txt", content: text("b") },
] });
const again = { path: "again.bin", content: new Blob([bytes, "!"]) };
await hub.uploadFile({ ...of, useXet: true, file: again });
told.listed = (await all(hub.listFiles({ ...of, recursive: true }))).map((each) => each.path);
told.missing = await hub.fileExists({ ...of, path: "none.txt" });
told.size = (await hub.fileDownloadInfo({ ...of, path: "model.safetensors" })).size;
const path = "model.safetensors";
told.whole = await same(await hub.downloadFile({ ...of, path }), bytes);
told.xet = await same(await hub.downloadFile({ ...of, path, xet: true }), bytes);
const slice = (await hub.downloadFile({ ...of, path })).slice(1000, 2000);
told.slice = await same(slice, bytes.subarray(1000, 2000));
told.info = (await hub.pathsInfo({ ...of, paths: ["b.txt"], expand: true }))[0].lastCommit.title;
told.tensors = Object.keys((await hub.parseSafetensorsMetadata({ ...of, path })).header);
told.tags = (await hub.modelInfo({ ...at, name, additionalFields: ["tags"] })).tags;
const search = { owner: name.split("/")[0], tags: ["safetensors"] };
told.found = (await all(hub.listModels({ ...at, search }))).map((each) => each.name);
await hub.createBranch({ ...of, branch: "dev" });
await hub.deleteBranch({ ...of, branch: "dev" });
told.pr = (await hub.commit({ ...of, title: "proposed", isPullRequest: true, operations: [
  { operation: "addOrUpdate", path: "c.txt", content: text("c") },
] })).pullRequestUrl;
await hub.deleteFiles({ ...of, paths: ["b.txt", "deep/a.txt"] });
const folder = await hub.snapshotDownload({ ...of, cacheDir: `${file}.cache` });
told.snapshot = readFileSync(`${folder}/model.safetensors`).equals(bytes);
told.commits = (await all(hub.listCommits(of))).length;
await hub.deleteRepo(of);
told.exists = await hub.repoExists(of);
console.log(JSON.stringify(told));
process.exit(0);
"""


def test_the_whole_story(server: Server, tmp_path: Path) -> None:
    tensors = {"w": {"dtype": "U8", "shape": [3 << 20], "data_offsets": [0, 3 << 20]}}
    header = json.dumps(tensors).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(range(256)) * (3 << 12)
    model = tmp_path / "model.safetensors"
    model.write_bytes(data)
    (tmp_path / "story.mjs").write_text(STORY)
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), PACKAGE]
    subprocess.run(install, check=True, timeout=240, capture_output=True)

    done = server.run("node", str(tmp_path / "story.mjs"), "clade/js", str(model))

    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("pr") == f"{server.url}/clade/js/discussions/1"
    assert sorted(told.pop("listed")) == [
        *(".gitattributes", "again.bin", "b.txt", "deep", "deep/a.txt", "model.safetensors"),
    ]
    assert told == {
        "me": "clade",
        "missing": False,
        "size": len(data),
        "whole": True,
        "xet": True,
        "slice": True,
        "info": "Add 3 files",
        "tensors": ["w"],
        "tags": ["safetensors"],
        "found": ["clade/js"],
        "snapshot": True,
        "commits": 4,
        "exists": False,
    }
