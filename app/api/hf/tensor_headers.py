"""Headers of a sharded model's safetensors files in one answer, read from the head of each."""

import json
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter

from app.api.deps import Caller, HubDep, RepoNameDep
from app.catalog.listing import Entry, find_entries
from app.catalog.refs import resolve_revision
from app.errors import EntryNotFound, InvalidRequest, LimitExceeded
from app.hub import Hub
from app.mirror.following import open_file

router = APIRouter(tags=["files"])

LENGTH_NBYTES = 8
MOST_SHARDS = 2_000


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/safetensors-metadata/{path:quotedpath}")
def safetensors_metadata(
    hub: HubDep, caller: Caller, name: RepoNameDep, path: str
) -> dict[str, Any]:
    """The index file's metadata, and the header of every shard that it names.

    ``path``: an index file on the default branch, or a single safetensors file.
    """
    with hub.db.read() as session:
        repo = name.find_open(session, caller)
        commit = resolve_revision(session, repo, hub.settings.default_branch)

    def find(paths: Iterable[str]) -> dict[str, Entry]:
        wanted = list(paths)
        with hub.db.read() as session:
            found = find_entries(session, repo.id, commit.tree_oid, wanted)
        for each in wanted:
            if each not in found or found[each].is_directory:
                raise EntryNotFound(f"{each} does not exist on this revision", commit=commit.oid)
        return found

    entry = find([path])[path]
    reading = _Headers(hub, repo.id)
    if path.endswith(".safetensors"):
        return {"index": {}, "headers": {path: reading.header_of(entry)}}
    index = reading.json_of(entry)
    weights = index.get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(w, str) for w in weights.values()):
        raise InvalidRequest(f"{path} is no index of safetensors files: it has no weight_map")
    folder = path.rpartition("/")[0]
    shards = {shard: f"{folder}/{shard}".lstrip("/") for shard in sorted(set(weights.values()))}
    if len(shards) > MOST_SHARDS:
        raise InvalidRequest(f"{path} names more than {MOST_SHARDS} files")
    found = find(shards.values())
    headers = {shard: reading.header_of(found[place]) for shard, place in shards.items()}
    return {"index": {"metadata": index.get("metadata")}, "headers": headers}


class _Headers:
    """Reads JSON out of files, no more than one header may have in all."""

    def __init__(self, hub: Hub, repo_id: int) -> None:
        self._hub = hub
        self._repo_id = repo_id
        self._left_nbytes = hub.settings.limits.header_nbytes

    def header_of(self, entry: Entry) -> dict[str, Any]:
        """The header of a safetensors file."""
        head = self._read(entry, 0, LENGTH_NBYTES)
        nbytes = int.from_bytes(head, "little")
        if LENGTH_NBYTES + nbytes > entry.nbytes:
            raise InvalidRequest(f"{entry.path} is no safetensors file")
        return _parse(entry, self._read(entry, LENGTH_NBYTES, LENGTH_NBYTES + nbytes))

    def json_of(self, entry: Entry) -> dict[str, Any]:
        """A whole file as JSON."""
        return _parse(entry, self._read(entry, 0, entry.nbytes))

    def _read(self, entry: Entry, start: int, stop: int) -> bytes:
        self._left_nbytes -= stop - start
        if self._left_nbytes < 0:
            raise LimitExceeded("the headers are too long", setting="limits.header_nbytes")
        if min(stop, entry.nbytes) <= start:
            return b""
        reader = open_file(self._hub, self._repo_id, entry)
        try:
            return b"".join(reader.stream(start, min(stop, entry.nbytes)))
        finally:
            reader.close()


def _parse(entry: Entry, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{entry.path} does not hold a JSON object where one belongs")
    return value
