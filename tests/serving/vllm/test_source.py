"""From what vLLM is told to a repository of a hub."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.vllm.plugin import resolve
from serving.vllm.source import DEFAULT_HUB, BadSource, Source


class Resolved(str):
    """As vLLM's: a revision that carries its commit."""

    __slots__ = ()
    commit_hash = "c0ffee"


def test_what_is_not_said_comes_from_the_environment() -> None:
    there = {"HF_ENDPOINT": "http://hub:1", "HF_TOKEN": "hf_x"}

    source = Source.of("hub://alice/base", None, {}, environment=there)

    assert (source.hub, source.repo, source.revision) == ("http://hub:1", "alice/base", "main")
    assert source.token == "hf_x"
    assert "hf_x" not in repr(source)


def test_what_is_said_goes_before_the_environment(tmp_path: Path) -> None:
    extra = {"hub": "http://own:2", "token": "hf_own", "cache": str(tmp_path), "threads": 2}
    there = {"HF_ENDPOINT": "http://hub:1", "HF_TOKEN": "hf_x"}

    source = Source.of("alice/base", Resolved("main"), extra, token="hf_y", environment=there)

    assert (source.hub, source.token, source.revision) == ("http://own:2", "hf_own", "c0ffee")
    assert (source.cache, source.threads) == (tmp_path, 2)
    assert Source.of("alice/base", None, {}, environment={}).hub == DEFAULT_HUB


@pytest.mark.parametrize("model", ["hub://", "hub://alice", "hub://alice/", "hub://a/b/c", "base"])
def test_no_name_of_a_model(model: str) -> None:
    with pytest.raises(BadSource, match="hub://owner/name"):
        Source.of(model, None, {}, environment={})


def test_a_directory_is_no_model_of_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("alice/base").mkdir(parents=True)

    with pytest.raises(BadSource, match="alice/base"):
        Source.of("alice/base", None, {}, environment={})


@pytest.mark.parametrize("threads", [0, "4", 1.5])
def test_threads(threads: object) -> None:
    with pytest.raises(BadSource, match="threads"):
        Source.of("alice/base", None, {"threads": threads}, environment={})


def test_an_address_wants_our_load_format() -> None:
    arguments = SimpleNamespace(model="hub://alice/base", load_format="dummy", tokenizer=None)

    with pytest.raises(BadSource, match="dummy"):
        resolve(arguments)
