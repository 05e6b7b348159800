"""``snapshot_download`` of a thousand small files, from a hub and from nginx with the same bytes.

nginx answers the client's three questions (revision, tree, files) out of static files: what a hub
could at best be, with no accounts, no history and nothing taken apart.
"""

import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.corpus import NAMESPACE
from bench.hub import Client, LiveHub, Ran, free_port
from bench.plain import run_nginx
from bench.report import interleaved, median, median_ratio, print_table
from bench.transfers import check, fresh

REPO = f"{NAMESPACE}/many"
FILES = 1_000
COMMIT = "c" * 40
AIM = 0.5


def make_folder(at: Path) -> Path:
    """A thousand files of 200 to 8,000 bytes in twenty directories."""
    chance = random.Random(0)
    for number in range(FILES):
        path = at / f"part-{number % 20:02}" / f"{number:04}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(200, 8_000)))
    return at


@contextlib.contextmanager
def static_hub(directory: Path, folder: Path) -> Iterator[str]:
    """URL of an nginx that the client takes for a hub with this one repository."""
    info = {"id": REPO, "sha": COMMIT, "private": False, "siblings": []}
    tree = [
        {
            "type": "file",
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "oid": f"{number:040x}",
        }
        for number, path in enumerate(sorted(folder.rglob("*.json")))
    ]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "info").write_text(json.dumps(info))
    (directory / "tree").write_text(json.dumps(tree))
    port = free_port()
    server = f"""
    server {{
      listen 127.0.0.1:{port};
      location /api/models/{REPO}/revision/ {{
        default_type application/json; try_files /info =404; root {directory};
      }}
      location /api/models/{REPO}/tree/ {{
        default_type application/json; try_files /tree =404; root {directory};
      }}
      location /{REPO}/resolve/{COMMIT}/ {{
        alias {folder}/; add_header X-Repo-Commit {COMMIT};
      }}
    }}"""
    with run_nginx(directory, server, port):
        yield f"http://127.0.0.1:{port}"


def compare_snapshots(
    directory: Path, hub: LiveHub, token: str, rounds: int, database: str
) -> None:
    """Download from both in turn, and print wall and CPU seconds and the ratio."""
    folder = make_folder(directory / "many")
    clients = {"clade": Client(hub.url, token, directory / "home-clade")}
    clients["clade"].upload(REPO, folder)
    hub.settle()
    with static_hub(directory / "nginx", folder) as static:
        clients["nginx"] = Client(static, token, directory / "home-nginx")

        def load(name: str) -> tuple[Ran, float]:
            to = fresh(directory / f"copy-{name}")
            used = hub.cpu_s()
            ran = clients[name].download(REPO, to)
            used = hub.cpu_s() - used
            shutil.rmtree(to / ".cache", ignore_errors=True)
            check(to, folder)
            return ran, used

        done = interleaved(rounds, {name: lambda name=name: load(name) for name in clients})
    seconds = {name: [ran.seconds for ran, _ in loaded] for name, loaded in done.items()}
    speed = median_ratio(seconds["nginx"], seconds["clade"])
    print_table(
        f"hf download of {FILES:,} small files ({database})",
        ["side", "s", "files/s", "client CPU s", "hub CPU s"],
        [
            [
                name,
                f"{median(seconds[name]):.2f}",
                f"{FILES / median(seconds[name]):.0f}",
                f"{median(ran.cpu_s for ran, _ in loaded):.2f}",
                f"{median(used for _, used in loaded):.2f}" if name == "clade" else "",
            ]
            for name, loaded in done.items()
        ],
        f"clade / nginx: {speed:.2f} (aim {AIM}){'' if speed >= AIM else ' MISSED'}",
    )
