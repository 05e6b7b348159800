"""What reads bytes of clients, with sound inputs for each: the targets of the parser fuzzer."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from app.api.hf.commit_body import CommitBody
from app.api.hf.lfs import BatchQuestion, Completion
from app.api.json_body import parse_json, validated
from app.errors import HubError, InvalidRequest
from app.formats.layout import parse_layout
from app.formats.model_card import load_card_data, parse_model_card, parse_model_config
from app.formats.segments import Doubt
from app.git.asking import read_command, read_fetch_arguments, read_old_fetch
from app.git.checking import check_push
from app.git.pkt import Mark, PktReader, pkt
from app.git.receiving import _read_commands
from app.git.unpacking import UnpackedObjects
from app.settings import Limits
from app.signing import SealBroken
from app.web.markdown import Renderer, card_text
from app.xet.shard import parse_shard
from app.xet.xorb import GROUPED_LZ4, LZ4, XorbReader
from bench.fuzz_seals import (
    DIGEST_NBYTES,
    mend_commit,
    mend_push,
    mend_safetensors,
    mend_shard,
    mend_xorb,
)
from tests.fixtures import packs
from tests.fixtures.files import gguf_of, safetensors_of
from tests.fixtures.xorbs import build_shard, build_xorb, file_block

REFUSALS = (HubError, Doubt, yaml.YAMLError, SealBroken)
"""What a parser may say of bytes that it does not take."""

LIMITS = Limits(header_inline_nbytes=1 << 30, push_nbytes=8 << 20, inline_file_nbytes=1 << 20)


@dataclass(frozen=True)
class Target:
    """A parser, and what to start from."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = (b"\0", b"\xff" * 8)
    mend: Callable[[bytes], bytes] | None = None
    """Makes lengths and checksums true again, so that damage gets further in."""


def _xorb(data: bytes) -> None:
    """The digest that it was announced by, then the xorb."""
    digest, stored = data[:DIGEST_NBYTES], data[DIGEST_NBYTES:]
    reader = XorbReader(digest, LIMITS)
    for _ in reader.read([stored[: len(stored) // 2], stored[len(stored) // 2 :]]):
        pass
    reader.table()


def _shard(data: bytes) -> None:
    for file in parse_shard(data, LIMITS):
        _ = file.nbytes, list(file.terms())


def _commit(data: bytes) -> None:
    body = CommitBody(LIMITS)
    for start in range(0, len(data), 97):
        body.feed(data[start : start + 97])
    body.end()
    for file in body.take_inline():
        body.stored(file, 1, "0" * 40)
    body.finish()


def _push(data: bytes) -> None:
    reader = PktReader([data[:50], data[50:]])
    push = _read_commands(reader, LIMITS.push_refs)
    with UnpackedObjects(LIMITS) as unpacked:
        unpacked.read_pack(reader, lambda _oids: iter(()))
        check_push(unpacked, [each.new for each in push.updates if not each.is_deletion], LIMITS)


def _fetch(data: bytes) -> None:
    try:
        read_old_fetch(PktReader([data]))
    except InvalidRequest:
        command = read_command(PktReader([data]))
        if command is not None:
            read_fetch_arguments(command.arguments)


def _card(data: bytes) -> None:
    parse_model_card(data)
    parse_model_config(data)
    Renderer(files="/a/b/")(card_text(data))
    load_card_data(data)


def _batch(data: bytes) -> None:
    value = parse_json(data, LIMITS)
    try:
        validated(BatchQuestion, value)
    except InvalidRequest:
        validated(Completion, value)


def _line(key: str, **value: object) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"


def _pushes() -> tuple[bytes, ...]:
    blob = b"hello\n" * 20
    blob_oid, lfs = packs.object_oid("blob", blob), packs.object_oid("blob", POINTER)
    tree = packs.tree(("100644", "a.txt", blob_oid), ("100644", "b.bin", lfs))
    commit = packs.commit(packs.object_oid("tree", tree))
    objects = (("blob", blob), ("blob", POINTER), ("tree", tree), ("commit", commit))
    copy = packs.varint(len(blob)) + packs.varint(12) + b"\x90\x06\x06" + b"hello\n"
    thin = packs.pack([packs.whole("blob", blob), packs.delta(blob_oid, copy)])
    return packs.push_objects(*objects), packs.push(packs.object_oid("commit", commit), thin)


RAW = bytes(range(256)) * 3
SHA256 = hashlib.sha256(RAW).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 768\n".encode()
XORBS = [build_xorb(RAW, scheme, 300) for scheme in (0, LZ4, GROUPED_LZ4)]
TENSORS = {
    "a.weight": ("BF16", (4, 2), bytes(16)),
    "b": ("F32", (3,), bytes(12)),
    "c": ("I8", (0,), b""),
}
SAFETENSORS = (safetensors_of(TENSORS), safetensors_of({}))
GGUFS = (
    gguf_of({"w": (0, (32, 2), bytes(256))}),
    gguf_of({"w": (1, (32,), bytes(64))}, {"general.alignment": 64, "a": ["x", "y"]}, version=2),
)
HEADER = _line("header", summary="s", description="d")
NOTE = _line("file", path="d", content="text", encoding="utf-8")
INLINE = _line("file", path="a/b.txt", content=base64.b64encode(RAW).decode(), encoding="base64")
COMMITS = (
    HEADER + INLINE + NOTE,
    HEADER + _line("lfsFile", path="c.bin", algo="sha256", oid=SHA256, size=len(RAW)) + INLINE,
    HEADER + _line("deletedFile", path="d") + _line("file", path="e/f", content="eA=="),
    HEADER + _line("deletedFolder", path="e/") + NOTE,
    _line("header", summary="s", parentCommit="0" * 40) + INLINE,
)
"""In this order they apply to a repository that was sent RAW; the last is for another head."""
FETCHES = (
    pkt(
        b"command=fetch\n",
        b"agent=x\n",
        Mark.DELIMITER,
        b"want " + b"1" * 40,
        b"deepen 2",
        b"have " + b"2" * 40,
        b"shallow " + b"3" * 40,
        b"done\n",
        Mark.FLUSH,
    ),
    pkt(b"want " + b"1" * 40 + b" side-band-64k\n", Mark.FLUSH, b"have " + b"2" * 40, b"done\n"),
)
CARDS = (
    b"---\nbase_model: [a/b]\nlicense: mit\ntags: [x, 'y']\nn: 1e3\n---\n# A\n\n| b |\n|-|\n",
    b"---\na: &x [1, 2]\nb: *x\n---\n[d](e) ![f](g) <h>\n> i\n\n1. j\n",
    b'{"architectures": ["B"], "model_type": "bert"}',
)
BATCHES = (
    json.dumps(
        {
            "operation": "upload",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "ref": {"name": "refs/heads/main"},
            "objects": [{"oid": SHA256, "size": 768}] * 3,
        }
    ).encode(),
    json.dumps({"oid": SHA256, "parts": [{"partNumber": 1, "etag": "e"}]}).encode(),
)
SHARDS = (
    build_shard(file_block([(XORBS[0], 0, len(XORBS[0].chunks))]), xorbs=(XORBS[0],)),
    build_shard(file_block([(XORBS[1], 0, 1)], checks=False, with_sha256=False)),
)
JSON_WORDS = (
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"[" * 80,
    b'{"a":' * 80,
    b"NaN",
    b",",
    b"\n",
    b"\xff",
    b"1e999",
    b'"__metadata__":null,',
)
YAML_WORDS = (
    b"---\n",
    b"!!python/object/apply:os.system ['x']",
    b"&a ",
    b"*a ",
    b"? ",
    b"<<: *a\n",
    b"[" * 100,
    b"> " * 100,
    b"<script>",
    b"](javascript:",
    b"\t",
    b"\xef\xbb\xbf",
    b"0o17",
    b"2001-13-99",
    b".inf",
)

TARGETS = (
    Target(
        "safetensors",
        lambda data: parse_layout(data, len(data), LIMITS),
        SAFETENSORS,
        JSON_WORDS,
        mend_safetensors,
    ),
    Target("gguf", lambda data: parse_layout(data, len(data), LIMITS), GGUFS),
    Target(
        "xorb",
        _xorb,
        tuple(each.digest + each.stored for each in XORBS),
        (b"XETBLOB", b"\0\0\0"),
        mend_xorb,
    ),
    Target("shard", _shard, SHARDS, (b"\xff" * 48, b"\0" * 48), mend_shard),
    Target("commit", _commit, COMMITS, JSON_WORDS, mend_commit),
    Target("git push", _push, _pushes(), (b"0000", b"PACK", b"x\x9c", b"0004"), mend_push),
    Target("git fetch", _fetch, FETCHES, (b"0000", b"0001", b"0002", b"ffff", b"want ")),
    Target("card", _card, CARDS, YAML_WORDS),
    Target("lfs batch", _batch, BATCHES, JSON_WORDS),
)
