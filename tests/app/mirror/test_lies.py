"""An upstream that lies, breaks off, drips or leads elsewhere: a clear error, nothing published."""

import json
import random
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest

from app.contents.checked import OPINIONS
from app.db.tables import AwaitedFile, File, Ref, Repo
from app.gc.collect import collect
from tests.fixtures.api import ALICE_TOKEN, REPO, add
from tests.fixtures.faulty import Fault, FaultyStore
from tests.fixtures.mirrors import (
    OBJECT,
    GoBetween,
    MakeMirror,
    Mirrored,
    Tamper,
    asked_range,
    reply,
)

pytestmark = pytest.mark.long

BIG = random.Random(1).randbytes(1_500_000)


def publish(pair: Mirrored) -> None:
    api = pair.upstream.api()
    api.create_repo(REPO)
    api.create_commit(REPO, [add("big.bin", BIG)], commit_message="big")


def count(pair: Mirrored, *criteria: Any, table: type = AwaitedFile) -> int:
    with pair.mirror.hub.db.read() as session:
        return session.query(table).filter(*criteria).count()


def get_big(pair: Mirrored) -> httpx.Response | None:
    """The answer; None if it was cut short."""
    try:
        return pair.get(f"/{REPO}/resolve/main/big.bin")
    except httpx.RemoteProtocolError:
        return None


def of_objects(answer: Tamper) -> Tamper:
    return lambda between, handler: handler.path.startswith(OBJECT) and answer(between, handler)


def partial(body: bytes, claimed: bytes = BIG) -> Tamper:
    def answer(_between: GoBetween, handler: Any) -> bool:
        start, stop = asked_range(handler)
        said = f"bytes {start}-{stop - 1}/{len(claimed)}"
        return reply(handler, 206, body[start:stop], content_range=said)

    return answer


def redirect(target: str) -> Tamper:
    return lambda _between, handler: reply(handler, 302, location=target)


WRONG = bytes([BIG[0] ^ 1]) + BIG[1:]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(partial(WRONG), "sha256", id="other bytes"),
        pytest.param(partial(BIG, BIG + b"x"), "asked for bytes", id="other size"),
        pytest.param(
            lambda _b, handler: reply(handler, 200, b"<html>", content_type="text/html"),
            "announces",
            id="a page",
        ),
        pytest.param(redirect("http://169.254.169.254/latest/"), "hosts", id="inner address"),
        pytest.param(redirect("http://inner.hf.co/x"), "inner address", id="inner by name"),
        pytest.param(redirect("file:///etc/passwd"), "no place to go", id="a file"),
        pytest.param(redirect("/lfs/objects/again"), "circles", id="circles"),
    ],
)
def test_a_lie_about_a_file_is_told_and_nothing_kept(
    mirror_of: MakeMirror, monkeypatch: pytest.MonkeyPatch, answer: Tamper, words: str
):
    pair = mirror_of(negative_s=3600)
    publish(pair)
    monkeypatch.setattr(
        "app.mirror.destinations.socket.getaddrinfo",
        lambda host, port, *_, **__: [(2, 1, 6, "", ("127.0.0.1", port))],
    )
    pair.between.tamper = of_objects(answer)

    cut = get_big(pair)
    told = get_big(pair)

    assert cut is None or cut.status_code == 502
    assert told is not None
    assert (told.status_code, told.headers["x-error-code"]) == (502, "UpstreamLied")
    assert words in told.json()["error"]
    assert count(pair, table=File) == 1  # .gitattributes
    assert count(pair) == 1
    assert pair.between.count(OBJECT) <= 7  # a lie is not asked for again


def test_a_store_that_errs_is_not_the_upstreams_lie(mirror_of: MakeMirror):
    pair = mirror_of(negative_s=3600)
    publish(pair)
    pair.get(f"/api/models/{REPO}")
    hub = pair.mirror.hub
    hub.store = faulty = FaultyStore(hub.store)
    faulty.fail("read", *[Fault.WRONG_BYTES] * (OPINIONS - 1))

    answer = get_big(pair)

    assert answer is not None
    assert answer.content == BIG
    assert not faulty._faults["read"]


def test_a_fetch_that_breaks_off_goes_on_where_it_was(any_mirror_of: MakeMirror):
    pair = any_mirror_of(part_nbytes=1 << 20)
    publish(pair)

    def break_off(_between: GoBetween, handler: Any) -> bool:
        start, stop = asked_range(handler)
        if start > 1_000_000:
            return False
        return reply(
            handler,
            206,
            BIG[start : min(stop, start + 300_000)],
            content_length=str(stop - start),
            content_range=f"bytes {start}-{stop - 1}/{len(BIG)}",
        )

    pair.between.tamper = of_objects(break_off)
    answer = get_big(pair)

    assert answer is not None
    assert answer.content == BIG
    starts = [each.headers["range"] for each in pair.between.asked if each.path.startswith(OBJECT)]
    assert len(starts) == len(set(starts)) > 3


def test_an_upstream_that_ignores_ranges_is_read_from_the_start(mirror_of: MakeMirror):
    pair = mirror_of(part_nbytes=64 << 10)
    publish(pair)
    turns = iter([300_000, len(BIG)])

    def whole(_between: GoBetween, handler: Any) -> bool:
        return reply(handler, 200, BIG[: next(turns)], content_length=str(len(BIG)))

    pair.between.tamper = of_objects(whole)
    answer = get_big(pair)

    assert answer is not None
    assert answer.content == BIG


@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (429, 503, {}),
        (500, 503, {}),
        (403, 403, {"x_error_code": "GatedRepo"}),
        (404, 404, {"x_error_code": "EntryNotFound"}),
    ],
)
def test_refusals_are_passed_on(
    mirror_of: MakeMirror, status: int, code: int, headers: dict[str, str]
):
    pair = mirror_of(negative_s=3600)
    publish(pair)
    pair.between.tamper = of_objects(lambda _b, handler: reply(handler, status, **headers))

    assert [answer.status_code for answer in (get_big(pair), get_big(pair)) if answer] == [
        code,
        code,
    ]


def test_a_drip_is_given_up(mirror_of: MakeMirror, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.mirror.door._WINDOW_S", 0.2)
    pair = mirror_of(slowest_nbytes_s=1 << 20, part_s=0.05, part_nbytes=64 << 10)
    publish(pair)

    def drip(_between: GoBetween, handler: Any) -> bool:
        start, stop = asked_range(handler)
        handler.send_response(206)
        handler.send_header("content-range", f"bytes {start}-{stop - 1}/{len(BIG)}")
        handler.send_header("content-length", str(stop - start))
        handler.end_headers()
        with suppress(OSError):
            for byte in BIG[start : start + 40]:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(0.05)
        return True

    pair.between.tamper = of_objects(drip)
    answer = get_big(pair)

    assert answer is None or answer.status_code in {503, 504}


@pytest.mark.parametrize(
    ("part", "body", "words"),
    [
        ("/api/models/", b"not json", "no JSON object"),
        ("/api/models/", b'{"id": "../../etc"}', "no name of one"),
        ("/git-upload-pack", b"zzzz", "git"),
    ],
)
def test_lies_about_a_repo_leave_no_trace(
    mirror_of: MakeMirror, part: str, body: bytes, words: str
):
    pair = mirror_of()
    publish(pair)
    pair.between.tamper = lambda _b, handler: part in handler.path and reply(handler, 200, body)

    answer = pair.get(f"/api/models/{REPO}")

    assert (answer.status_code, answer.headers["x-error-code"]) == (502, "UpstreamLied")
    assert words in answer.json()["error"]
    assert count(pair, table=Repo) == 0


def test_a_pack_that_is_no_pack_leaves_no_trace(mirrored: Mirrored):
    publish(mirrored)
    seen: list[str] = []

    def second_question(_between: GoBetween, handler: Any) -> bool:
        if "git-upload-pack" not in handler.path:
            return False
        seen.append(handler.path)
        body = b"000dpackfile\n0011\x01PACK\0\0\0\2\0\0\0\1" + b"0000"
        return len(seen) == 2 and reply(handler, 200, body)

    mirrored.between.tamper = second_question
    answer = mirrored.get(f"/api/models/{REPO}")

    assert (answer.status_code, answer.headers["x-error-code"]) == (502, "UpstreamLied")
    assert (count(mirrored, table=Repo), count(mirrored, table=Ref)) == (0, 0)
    mirrored.between.tamper = None
    assert mirrored.get(f"/api/models/{REPO}").status_code == 200


def test_an_endless_description_is_cut_off(mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch):
    publish(mirrored)
    monkeypatch.setattr("app.mirror.upstream.INFO_NBYTES", 1_000)
    mirrored.between.tamper = lambda _b, handler: reply(handler, 200, b"{" * 100_000)

    answer = mirrored.get(f"/api/models/{REPO}")

    assert (answer.status_code, answer.headers["x-error-code"]) == (502, "UpstreamLied")


def test_the_token_goes_to_the_upstream_only(mirror_of: MakeMirror):
    pair = mirror_of(hosts="localhost")
    publish(pair)
    port = pair.between.url.rpartition(":")[2]

    def elsewhere(_between: GoBetween, handler: Any) -> bool:
        if handler.headers["host"].startswith("localhost"):
            return False
        return reply(handler, 302, location=f"http://localhost:{port}{handler.path}")

    pair.between.tamper = of_objects(elsewhere)
    answer = get_big(pair)

    assert answer is not None
    assert answer.content == BIG
    by_host: dict[str, bool] = {}
    for each in pair.between.asked:
        headers = {name.lower(): value for name, value in each.headers.items()}
        host = headers["host"].partition(":")[0]
        by_host[host] = by_host.get(host, False) or "authorization" in headers
        assert host != "localhost" or "x-clade-mirror-via" not in headers
    assert by_host == {"127.0.0.1": True, "localhost": False}


def test_headers_of_a_link_go_to_its_own_place_only(mirror_of: MakeMirror):
    pair = mirror_of(hosts="localhost")
    publish(pair)
    port = pair.between.url.rpartition(":")[2]
    given = {"Authorization": "Basic link", "X-Key": "link", "Host": "evil", "Range": "bytes=0-0"}

    def elsewhere(between: GoBetween, handler: Any) -> bool:
        if handler.path.endswith("/info/lfs/objects/batch"):
            question = handler.body
            answer = httpx.post(between.upstream + handler.path, content=question).json()
            action = answer["objects"][0]["actions"]["download"]
            path = httpx.URL(action["href"]).raw_path.decode()
            answer["objects"][0]["actions"]["download"] = {
                "href": f"http://localhost:{port}{path}",
                "header": given,
            }
            return reply(handler, 200, json.dumps(answer).encode())
        is_there = handler.headers["host"].startswith("localhost")
        back = f"http://127.0.0.1:{port}{handler.path}"
        return is_there and reply(handler, 302, location=back)

    pair.between.tamper = elsewhere
    answer = get_big(pair)

    assert answer is not None
    assert answer.content == BIG
    asked = [each for each in pair.between.asked if each.path.startswith(OBJECT)]
    sent = [{name.lower(): value for name, value in each.headers.items()} for each in asked]
    assert [each.get("authorization") for each in sent] == ["Basic link", f"Bearer {ALICE_TOKEN}"]
    assert [each.get("x-key") for each in sent] == ["link", None]
    assert [each["host"] for each in sent] == [f"localhost:{port}", f"127.0.0.1:{port}"]
    assert {each["range"] for each in sent} == {f"bytes=0-{len(BIG) - 1}"}


@pytest.mark.parametrize("header", [["a"], {"X Y": "z"}, {"x": "a\r\nb"}, {"x": 1}, "text"])
def test_headers_that_are_none_are_a_lie(mirror_of: MakeMirror, header: object):
    pair = mirror_of(negative_s=3600)
    publish(pair)

    def answer(_between: GoBetween, handler: Any) -> bool:
        if not handler.path.endswith("/info/lfs/objects/batch"):
            return False
        oid = json.loads(handler.body)["objects"][0]["oid"]
        download = {"href": f"{pair.between.url}/lfs/objects/x", "header": header}
        body = {"objects": [{"oid": oid, "actions": {"download": download}}]}
        return reply(handler, 200, json.dumps(body).encode())

    pair.between.tamper = answer
    told = get_big(pair)

    assert told is not None
    assert (told.status_code, told.headers["x-error-code"]) == (502, "UpstreamLied")
    assert pair.between.count(OBJECT) == 0


def test_parts_that_nobody_went_on_with_are_collected(mirror_of: MakeMirror):
    pair = mirror_of()
    publish(pair)
    hub = pair.mirror.hub
    pair.between.tamper = of_objects(
        lambda _b, handler: (
            reply(
                handler,
                206,
                BIG[:500_000],
                content_length=str(len(BIG)),
                content_range=f"bytes 0-{len(BIG) - 1}/{len(BIG)}",
            )
            if handler.headers["range"].startswith("bytes=0-")
            else reply(handler, 500)
        )
    )
    assert get_big(pair) is None
    stored = sum(stat.nbytes for stat in hub.store.list())

    hub.settings = hub.settings.model_copy(
        update={"timers": hub.settings.timers.model_copy(update={"intent_s": 0})}
    )
    collect(hub, now=True)

    assert sum(stat.nbytes for stat in hub.store.list()) < stored - 400_000
