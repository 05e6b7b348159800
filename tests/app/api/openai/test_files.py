"""`/v1/files` as the `openai` client uses it: on both kinds of hub, by all who may and may not."""

import os
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import OpenAI

from app.accounts.issuing import ScopeName, issue_token
from app.accounts.quotas import Amounts, read_quota, set_quota
from app.accounts.users import create_user
from app.clock import SystemClock
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.tuning.shelf import SHELF
from tests.fixtures.api import LiveHub, running_server
from tests.fixtures.tuning import openai_client

DATA = b'{"messages": []}\n' * 3


@pytest.fixture
def served(any_hub: Hub) -> Iterator[tuple[Hub, str]]:
    """A hub of either kind on the network, with alice and bob."""
    any_hub.clock = SystemClock()
    create_user(any_hub, "alice", token="hf_alice")
    create_user(any_hub, "bob", token="hf_bob")
    with running_server(any_hub) as url:
        yield any_hub, url


@pytest.fixture
def alice(live_hub: LiveHub) -> Iterator[OpenAI]:
    with openai_client(live_hub.url, "hf_alice") as client:
        yield client


def test_a_file_comes_back_as_it_was_sent_and_goes_for_good(served: tuple[Hub, str]) -> None:
    hub, url = served
    data = os.urandom(3 << 20)
    with openai_client(url, "hf_alice") as alice, openai_client(url, "hf_bob") as bob:
        sent = alice.files.create(file=("träin.jsonl", data), purpose="fine-tune")
        assert (sent.filename, sent.bytes, sent.purpose) == ("träin.jsonl", len(data), "fine-tune")
        collect(hub, now=True)
        assert alice.files.content(sent.id).read() == data
        assert alice.files.retrieve(sent.id) == sent
        for ask in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError, match="No such File object"):
                ask(sent.id)
        assert bob.files.list().data == []
        assert alice.files.delete(sent.id).deleted
        with pytest.raises(openai.NotFoundError):
            alice.files.content(sent.id)
        assert alice.files.list().data == []
    assert fsck(hub, deep=True).clean
    with hub.db.read() as session:
        assert read_quota(session, hub, f"datasets/alice/{SHELF}")[1].nbytes < 10_000


def test_pages_follow_one_another_in_both_orders(alice: OpenAI) -> None:
    names = [f"{number}.jsonl" for number in range(5)]
    for name in names:
        alice.files.create(file=(name, DATA + name.encode()), purpose="fine-tune")
    newest = alice.files.list(limit=2)
    assert [each.filename for each in newest.data] == ["4.jsonl", "3.jsonl"]
    assert newest.has_next_page()
    assert [each.filename for each in alice.files.list(limit=2)] == names[::-1]
    assert [each.filename for each in alice.files.list(limit=2, order="asc")] == names
    assert list(alice.files.list(purpose="batch")) == []
    with pytest.raises(openai.BadRequestError, match="after: No such File"):
        alice.files.list(after="file-none")


def test_equal_bytes_are_two_files_of_which_one_may_go(alice: OpenAI, live_hub: LiveHub) -> None:
    first, second = (
        alice.files.create(file=(name, DATA), purpose="fine-tune") for name in ("a", "b")
    )
    alice.files.delete(first.id)
    collect(live_hub.hub, now=True)
    assert alice.files.content(second.id).read() == DATA
    assert fsck(live_hub.hub, deep=True).clean


def test_what_is_wrong_is_told_in_openais_shape_and_stores_nothing(
    alice: OpenAI, live_hub: LiveHub
) -> None:
    def refused(**sent: object) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            alice.files.create(**({"file": ("a.jsonl", DATA), "purpose": "fine-tune"} | sent))  # type: ignore[arg-type]
        return caught.value

    told = refused(purpose="assistants")
    assert (told.status_code, told.param, told.code) == (400, "purpose", "invalid_request")
    assert "only fine-tune" in told.message
    assert "is empty" in refused(file=("a.jsonl", b"")).message
    assert "slashes" in refused(file=("../a.jsonl", DATA)).message
    assert "expires_after" in refused(extra_body={"expires_after": "x"}).message
    assert alice.files.list().data == []
    assert fsck(live_hub.hub, deep=True).clean


FILE = ('name="file"; filename="a"', b"x")


def form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
        for head, body in parts
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (form(('name="purpose"', b"fine-tune")) + b"--b--\r\n", "no field of this name"),
        (form(('name="file"', b"x")) + b"--b--\r\n", "with its name"),
        (form(FILE) + b"--b--\r\n", "purpose: is missing"),
        (
            form(FILE, ('name="purpose"', b"fine-tune")),
            "ends before",
        ),
        (form(*[FILE] * 2) + b"--b--\r\n", "exactly one"),
        (form(('name="purpose"', b"x" * 70_000)) + b"--b--\r\n", "longer than 65536"),
        (b"nonsense", "not a multipart form"),
        (b"", "ends before"),
    ],
)
def test_forms_that_are_none_are_refused(live_hub: LiveHub, body: bytes, says: str) -> None:
    answer = live_hub.http().post(
        "/v1/files", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert answer.headers["X-Error-Code"] == "InvalidRequest"


def test_a_purpose_behind_the_file_counts_as_much(live_hub: LiveHub) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    def send(purpose: bytes) -> httpx.Response:
        body = form(('name="file"; filename="a"', DATA), ('name="purpose"', purpose))
        return live_hub.http().post("/v1/files", content=body + b"--b--\r\n", headers=headers)

    assert send(b"batch").json()["error"]["param"] == "purpose"
    assert live_hub.http().get("/v1/files").json()["data"] == []
    assert send(b"fine-tune").json()["bytes"] == len(DATA)


def test_rights_and_quotas_are_those_of_the_hub(live_hub: LiveHub) -> None:
    hub, url = live_hub.hub, live_hub.url
    with openai_client(url, "hf_alice") as alice:
        sent = alice.files.create(file=("a", DATA), purpose="fine-tune")
    with openai_client(url, "hf_wrong") as nobody, pytest.raises(openai.AuthenticationError):
        nobody.files.list()
    shelf = (ScopeName(f"datasets/alice/{SHELF}", False),)
    for role, scopes in (("read", ()), ("fineGrained", shelf)):
        _, secret = issue_token(hub, "alice", name=role, role=role, scopes=scopes)  # type: ignore[arg-type]
        with openai_client(url, secret) as reader:
            assert reader.files.content(sent.id).read() == DATA
            assert [each.id for each in reader.files.list()] == [sent.id]
            for change in (
                lambda reader=reader: reader.files.create(file=("b", DATA), purpose="fine-tune"),
                lambda reader=reader: reader.files.delete(sent.id),
            ):
                with pytest.raises(openai.PermissionDeniedError):
                    change()
    live_hub.api().create_repo("alice/other")
    scopes = (ScopeName("alice/other", True),)
    _, secret = issue_token(hub, "alice", name="o", role="fineGrained", scopes=scopes)
    with openai_client(url, secret) as stranger:
        assert list(stranger.files.list()) == []
        with pytest.raises(openai.NotFoundError):
            stranger.files.retrieve(sent.id)
    set_quota(hub, "alice", Amounts(nbytes=200_000))
    with openai_client(url, "hf_alice") as alice:
        with pytest.raises(openai.PermissionDeniedError, match="quota: alice, bytes"):
            alice.files.create(file=("b", os.urandom(300_000)), purpose="fine-tune")
        again = alice.files.create(file=("b", os.urandom(100_000)), purpose="fine-tune")
        alice.files.delete(again.id)
        alice.files.create(file=("b", os.urandom(110_000)), purpose="fine-tune")
