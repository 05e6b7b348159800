import numpy as np

from app.digest import content_id_of, format_content_id
from tests.fixtures.contents import ContentFactory
from tests.fixtures.published import Publisher

URL = "/api/clade/models/alice/{}/storage/main"


def weights(nbytes: int, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).normal(0, 0.02, nbytes // 2).astype(np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def drifted(data: bytes) -> bytes:
    words = np.frombuffer(data, np.uint16)
    return (
        (words + np.random.default_rng(0).integers(-2, 3, words.size)).astype(np.uint16).tobytes()
    )


def test_every_byte_is_accounted_for(publisher: Publisher, contents: ContentFactory) -> None:
    base_data = weights(50_000)
    base, shared = contents.contents([(base_data, "PLANE", None), (weights(800, 5), "PLANE", None)])
    delta = contents.content(drifted(base_data), "BITX", base)
    tied = contents.content(weights(600, 6), "raw")
    publisher.publish("alice/base", {"model.safetensors": contents.file([base, shared])})
    tuned = contents.file([tied, delta, shared, tied])
    publisher.publish("alice/tuned", {"a.safetensors": tuned, "b.safetensors": tuned})

    page = publisher.client().get(URL.format("tuned")).json()

    saved = page["saved"]
    assert page["logical_bytes"] == page["stored_bytes"] + sum(saved.values())
    assert page["logical_bytes"] == sum(file["logical_bytes"] for file in page["files"])
    assert page["stored_bytes"] == sum(file["stored_bytes"] for file in page["files"])
    [attributes, first, second] = page["files"]
    assert saved["file_dedup"] == len(tuned.data) + attributes["logical_bytes"]
    assert saved["tensor_dedup"] == 800 + 600
    assert saved["delta"] > 30_000
    assert (first["path"], second["stored_bytes"]) == ("a.safetensors", 0)
    assert attributes["tensors"][0]["shared_with"] == "alice/base"
    by_name = {tensor["name"]: tensor for tensor in first["tensors"]}
    assert by_name["t1"]["encoding"] == "BITX"
    assert by_name["t1"]["base"] == {
        "digest": format_content_id(content_id_of(base_data)),
        "repo": "alice/base",
        "type": "model",
    }
    assert by_name["t2"]["shared_with"] == "alice/base"
    assert by_name["t0"]["shape"] == [300]


def test_base_that_the_caller_cannot_see_is_not_named(
    publisher: Publisher, contents: ContentFactory
) -> None:
    base = contents.content(weights(5000), "PLANE")
    delta = contents.content(drifted(weights(5000)), "BITX", base)
    publisher.publish("alice/base", {"model.safetensors": contents.file([base])}, private=True)
    publisher.publish("alice/tuned", {"model.safetensors": contents.file([delta])})

    bases = {
        name: [
            tensor["base"]
            for file in publisher.client(name).get(URL.format("tuned")).json()["files"]
            for tensor in file["tensors"]
            if tensor["role"] == "tensor"
        ]
        for name in ("alice", "bob")
    }

    assert bases["bob"] == [None]
    assert bases["alice"][0]["repo"] == "alice/base"
