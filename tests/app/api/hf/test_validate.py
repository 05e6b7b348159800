"""Cards are checked before they are uploaded."""

import pytest
from huggingface_hub import RepoCard

from tests.fixtures.api import LiveHub, add


def test_bad_card_is_reported_before_upload(live_hub: LiveHub, live_repo: str):
    with pytest.raises(ValueError, match="model-index"):
        live_hub.api().create_commit(
            live_repo, [add("README.md", b"---\nmodel-index: 3\n---\n")], commit_message="card"
        )


@pytest.mark.parametrize(
    ("head", "status", "said"),
    [
        ("license: mit", 200, ""),
        ("license: [mit, other]", 200, ""),
        ("license: asdf", 400, '"license" must be one of'),
        ("license: {a: b}", 400, '"license" must be one of'),
        ("model-index: x", 400, '"model-index" must be an array'),
        ("a: [", 400, "Invalid YAML"),
        ("a: &a [*a]", 400, "Invalid YAML"),
        ("", 200, "empty or missing yaml metadata"),
    ],
)
def test_cards_are_judged(live_hub: LiveHub, head: str, status: int, said: str):
    client = live_hub.http()
    body = {"content": f"\n---\n{head}\n---\ntext", "repoType": "model"}
    answer = client.post("/api/validate-yaml", json=body)
    assert answer.status_code == status
    messages = [each["message"] for part in ("errors", "warnings") for each in answer.json()[part]]
    assert (said == "") == (messages == [])
    assert all(said in message for message in messages)
    lines = client.post("/api/validate-yaml", json=body, headers={"accept": "text/plain"})
    assert (lines.status_code, lines.text.count(said) > 0) == (status, True)


def test_the_card_of_the_client_names_the_licences(
    live_hub: LiveHub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", live_hub.url)
    RepoCard("---\nlicense: apache-2.0\n---\n").validate()
    with pytest.raises(ValueError, match='- Error: "license" must be one of'):
        RepoCard("---\nlicense: asdf\n---\n").validate()
