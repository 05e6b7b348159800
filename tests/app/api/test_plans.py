import json

import numpy as np
import pytest

from app.digest import content_id_of, format_content_id
from app.hub import Hub
from codec import decode
from tests.fixtures.contents import ContentFactory, StoredFile
from tests.fixtures.published import Publisher

URL = "/api/clade/models/alice/model/plan/main/model.safetensors"


def weights(nbytes: int, seed: int) -> bytes:
    values = np.random.default_rng(seed).normal(0, 0.02, nbytes // 2).astype(np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def drifted(data: bytes) -> bytes:
    words = np.frombuffer(data, np.uint16)
    drift = np.random.default_rng(0).integers(-2, 3, words.size)
    return (words + drift).astype(np.uint16).tobytes()


@pytest.fixture
def base(contents: ContentFactory) -> list[int]:
    return contents.contents([(weights(5000, seed), "PLANE", None) for seed in range(3)])


@pytest.fixture
def fine_tune(contents: ContentFactory, base: list[int]) -> StoredFile:
    """A header, a delta per base tensor, the first one twice."""
    deltas = contents.contents(
        [(drifted(contents.bytes_of[id_]), "BITX", id_) for id_ in base], gap=0
    )
    return contents.file([contents.content(b"{header}"), *deltas, deltas[0]])


def rebuild(client, plan: dict) -> bytes:
    """What docs/formats/restore-plan.md says a client does."""
    extents = [client.get(extent["url"]).content for extent in plan["extents"]]
    raw: dict[int, bytes] = {}

    def content(number: int) -> bytes:
        if number not in raw:
            digest, nbytes, codec, base, extent, offset, stored_nbytes = plan["contents"][number]
            stored = extents[extent][offset : offset + stored_nbytes]
            below = None if base is None else content(base)
            raw[number] = stored if codec == "raw" else bytes(decode(stored, base=below))
            assert len(raw[number]) == nbytes
            assert format_content_id(content_id_of(raw[number])) == digest
        return raw[number]

    return b"".join(content(number) for _, number in plan["segments"])


def test_plan_rebuilds_the_file_from_stored_bytes(
    publisher: Publisher, contents: ContentFactory, base: list[int], fine_tune: StoredFile
) -> None:
    publisher.publish("alice/base", {"model.safetensors": contents.file(base)})
    publisher.publish("alice/model", {"model.safetensors": fine_tune})
    client = publisher.client()

    plan = client.get(URL).json()

    assert rebuild(client, plan) == fine_tune.data
    assert plan["sha256"] == fine_tune.sha256.hex()
    assert sum(nbytes for nbytes, _ in plan["segments"]) == plan["nbytes"] == len(fine_tune.data)
    assert len(plan["contents"]) == 7
    assert len(plan["extents"]) == 3


def test_base_in_a_repo_that_the_caller_cannot_read_is_not_handed_out(
    publisher: Publisher, contents: ContentFactory, base: list[int], fine_tune: StoredFile
) -> None:
    publisher.publish("alice/base", {"model.safetensors": contents.file(base)}, private=True)
    publisher.publish("alice/model", {"model.safetensors": fine_tune})

    plan = publisher.client("bob").get(URL).json()

    assert sorted(len(content) for content in plan["contents"]) == [2, 2, 2, 7]
    digests = {format_content_id(content_id_of(contents.bytes_of[id_])) for id_ in base}
    assert not any(digest in json.dumps(plan) for digest in digests)
    client = publisher.client("alice")
    assert rebuild(client, client.get(URL).json()) == fine_tune.data


def test_extent_never_covers_bytes_of_a_neighbour(
    publisher: Publisher, contents: ContentFactory
) -> None:
    mine, _, also_mine = contents.contents(
        [(b"mine", "raw", None), (b"somebody else's", "raw", None), (b"also mine", "raw", None)]
    )
    publisher.publish("alice/model", {"model.safetensors": contents.file([mine, also_mine])})
    client = publisher.client()

    plan = client.get(URL).json()

    assert [client.get(extent["url"]).content for extent in plan["extents"]] == [
        b"mine",
        b"also mine",
    ]


def test_stored_bytes_come_in_ranges(publisher: Publisher, contents: ContentFactory) -> None:
    data = weights(6 << 20, 1)
    publisher.publish("alice/model", {"model.safetensors": contents.file([contents.content(data)])})
    client = publisher.client()
    [extent] = client.get(URL).json()["extents"]

    answer = client.get(extent["url"], headers={"range": "bytes=4194300-4194309"})

    assert (answer.status_code, answer.content) == (206, data[4194300:4194310])
    assert client.get(extent["url"]).content == data


@pytest.mark.parametrize("spoil", ["forged", "expired"])
def test_url_that_is_not_ours_or_too_old_opens_nothing(
    hub: Hub, publisher: Publisher, contents: ContentFactory, spoil: str
) -> None:
    publisher.publish("alice/model", {"model.safetensors": publisher.text(b"bytes")})
    client = publisher.client()
    [extent] = client.get(URL).json()["extents"]
    url = extent["url"]
    if spoil == "forged":
        url = url[:-3] + ("AAA" if not url.endswith("AAA") else "BBB")
    else:
        hub.clock.advance(hub.settings.timers.presign_s + 1)  # type: ignore[attr-defined]

    assert client.get(url).status_code == 403


def test_damaged_stored_bytes_are_not_handed_out(
    publisher: Publisher, contents: ContentFactory
) -> None:
    content = contents.content(b"precious bytes")
    publisher.publish("alice/model", {"model.safetensors": contents.file([content])})
    client = publisher.client()
    [extent] = client.get(URL).json()["extents"]
    contents.overwrite(contents.key_of(content), b"precious bytez")

    assert client.get(extent["url"]).status_code == 503
    assert contents.health_of(content) == "damaged"


def test_bytes_stored_anew_are_still_there_under_the_old_url(
    publisher: Publisher, contents: ContentFactory
) -> None:
    content = contents.content(b"bytes" * 100)
    publisher.publish("alice/model", {"model.safetensors": contents.file([content])})
    client = publisher.client()
    [extent] = client.get(URL).json()["extents"]
    contents.reencode(content, "ZSTD")

    assert client.get(extent["url"]).content == b"bytes" * 100
    assert rebuild(client, client.get(URL).json()) == b"bytes" * 100


def test_plan_of_a_private_file_is_for_its_readers(publisher: Publisher) -> None:
    files = {"model.safetensors": publisher.text(b"secret")}
    publisher.publish("alice/model", files, private=True)

    assert publisher.client("bob").get(URL).headers["x-error-code"] == "RepoNotFound"
    assert publisher.client("alice").get(URL).status_code == 200
