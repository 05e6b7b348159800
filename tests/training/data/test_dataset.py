"""What was tokenised once is not tokenised again, unless anything about it changed."""

import json
from pathlib import Path

import pytest
import torch

from tests.fixtures.tiny_models import byte_tokenizer
from training.data import dataset
from training.data.dataset import UnusableTokenizer, load_dataset
from training.data.errors import BadData
from training.data.order import Order
from training.data.rendering import DEFAULT_TEMPLATE, Renderer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    lines = [{"prompt": f"{n}+{n}=", "completion": str(2 * n)} for n in range(9)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_kept_by_file_template_and_length(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    original = dataset._tokenized
    monkeypatch.setattr(
        dataset, "_tokenized", lambda path, *rest: made.append(path) or original(path, *rest)
    )
    renderer, cache = Renderer(byte_tokenizer()), tmp_path / "cache"
    first = load_dataset(file, renderer, 64, cache)
    again = load_dataset(file, renderer, 64, cache)
    assert len(made) == 1
    assert again.facts == first.facts
    for a, b in zip(first.samples, again.samples, strict=True):
        assert torch.equal(a.tokens, b.tokens)
        assert torch.equal(a.is_target, b.is_target)
    load_dataset(file, renderer, 6, cache)
    load_dataset(file, Renderer(byte_tokenizer(), DEFAULT_TEMPLATE), 64, cache)
    file.write_text(file.read_text() + "\n" + json.dumps({"prompt": "x", "completion": "y"}))
    assert load_dataset(file, renderer, 64, cache).facts.examples == 10
    assert len(made) == 4


def test_a_damaged_cache_is_made_again(file: Path, tmp_path: Path) -> None:
    renderer, cache = Renderer(byte_tokenizer()), tmp_path / "cache"
    whole = load_dataset(file, renderer, 64, cache)
    [kept] = cache.iterdir()
    for damage in (lambda b: b[:-9], lambda b: b[:-2] + bytes([b[-2] ^ 1]) + b[-1:], lambda _: b""):
        kept.write_bytes(damage(kept.read_bytes()))
        assert load_dataset(file, renderer, 64, cache).facts == whole.facts
        assert [*cache.iterdir()] == [kept]


def test_facts(file: Path, tmp_path: Path) -> None:
    facts = load_dataset(file, Renderer(byte_tokenizer()), 6, tmp_path / "cache").facts
    assert (facts.form, facts.examples, facts.longest, facts.truncated) == ("completion", 9, 6, 4)
    assert facts.tokens == 5 * 6 + 4 * 6
    assert facts.targets == 9 * 2


def test_faults_of_all_lines_are_told_at_once(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        load_dataset(file, Renderer(byte_tokenizer()), 4, tmp_path / "cache")
    assert [fault.line for fault in caught.value.faults] == list(range(1, 10))
    assert not (tmp_path / "cache").exists()


def test_slow_tokenizers_are_refused(file: Path, tmp_path: Path) -> None:
    renderer = Renderer(byte_tokenizer())
    renderer.tokenizer = object()
    with pytest.raises(UnusableTokenizer, match=r"tokenizer\.json"):
        load_dataset(file, renderer, 64, tmp_path)


def test_every_epoch_holds_every_sample_once_in_another_order(file: Path, tmp_path: Path) -> None:
    samples = load_dataset(file, Renderer(byte_tokenizer()), 64, tmp_path / "cache").samples
    order = Order(samples, 4, seed=1)
    assert order.per_epoch == 3
    epochs = [
        [id(sample) for number in range(3) for sample in order.batch(epoch * 3 + number)]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == sorted(map(id, samples)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    later = Order(samples, 4, seed=1)
    assert [id(s) for s in later.batch(7)] == [id(s) for s in order.batch(7)]
    with pytest.raises(ValueError, match="no samples"):
        Order([], 4, seed=1)
