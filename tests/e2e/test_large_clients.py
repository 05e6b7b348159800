"""Clients that are slow to install or to start: `make test-clients` runs them, not `make test`."""

import json
import sys
from pathlib import Path

import pytest

from tests.fixtures.environments import environment_python
from tests.fixtures.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1_200)]

REQUIREMENTS = [
    *("transformers==4.57.6", "datasets==4.4.1", "huggingface_hub==0.36.2", "hf-xet==1.8.0"),
    "jinja2",  # for the card that push_to_hub writes
]

TOKENIZER = """
import json, sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (AutoConfig, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast,
                          __version__)
from transformers.utils import cached_file, has_file

raw = Tokenizer(models.BPE())
raw.pre_tokenizer = pre_tokenizers.ByteLevel()
raw.train_from_iterator(["a clade is an ancestor with all its descendants"] * 9,
                        trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"]))
made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
made.push_to_hub("clade/old")
LlamaConfig(hidden_size=64).push_to_hub("clade/old")
loaded = AutoTokenizer.from_pretrained("clade/old")
print(json.dumps({
    "version": __version__,
    "ids": loaded("a clade is")["input_ids"] == made("a clade is")["input_ids"],
    "hidden": AutoConfig.from_pretrained("clade/old").hidden_size,
    "files": [has_file("clade/old", name) for name in ("config.json", "model.safetensors")],
    "missing": cached_file("clade/old", "none.json", _raise_exceptions_for_missing_entries=False),
}))
"""

DATASETS = """
import json
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import HfApi

rows = [{"text": f"row {n}", "label": n % 2} for n in range(1000)]
api = HfApi()
api.create_repo("clade/lines", repo_type="dataset", private=True)
for split, part in (("train", rows[:900]), ("test", rows[900:])):
    lines = "".join(json.dumps(row) + chr(10) for row in part).encode()
    api.upload_file(path_or_fileobj=lines, path_in_repo=f"{split}.jsonl", repo_id="clade/lines",
                    repo_type="dataset")
lines = load_dataset("clade/lines")

split = {"train": Dataset.from_list(rows[:900]), "test": Dataset.from_list(rows[900:])}
DatasetDict(split).push_to_hub("clade/columns", max_shard_size="4KB")
Dataset.from_list(rows[:5]).push_to_hub("clade/columns", "few")
columns = load_dataset("clade/columns", split="train")
streamed = load_dataset("clade/columns", split="test", streaming=True)
print(json.dumps({
    "lines": [lines[name].num_rows for name in ("train", "test")],
    "same": lines["train"].to_list() == columns.to_list() == rows[:900],
    "streamed": list(streamed) == rows[900:],
    "few": load_dataset("clade/columns", "few")["train"].to_list() == rows[:5],
    "shards": sum(name.endswith(".parquet") for name in api.list_repo_files(
        "clade/columns", repo_type="dataset")) > 3,
}))
"""


SENTENCES = """
import json, sys
import numpy as np, torch
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer, models as kinds, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

words = "[PAD] [UNK] [CLS] [SEP] a clade is an ancestor with all its descendants".split()
raw = Tokenizer(kinds.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
raw.pre_tokenizer = pre_tokenizers.Whitespace()
folder = sys.argv[1]
PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]",
                        cls_token="[CLS]", sep_token="[SEP]").save_pretrained(folder)
torch.manual_seed(0)
BertModel(BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=1,
                     num_attention_heads=2, intermediate_size=64)).save_pretrained(folder)
made = SentenceTransformer(modules=[models.Transformer(folder), models.Pooling(32, "mean")],
                           device="cpu")
made.push_to_hub("clade/sentences")
loaded = SentenceTransformer("clade/sentences", device="cpu")
said = ["a clade", "an ancestor with all its descendants"]
print(json.dumps([type(module).__name__ for module in loaded]
                 + [bool(np.array_equal(made.encode(said), loaded.encode(said)))]))
"""


def run(server: Server, code: str, home: Path) -> dict:
    python = environment_python("transformers-4.57.6-datasets-4.4.1", REQUIREMENTS)
    out = server.run(str(python), "-c", code, HF_HOME=str(home), HF_HUB_DISABLE_PROGRESS_BARS="1")
    return json.loads(out.stdout.splitlines()[-1])


def test_transformers_of_the_4_line_pushes_and_loads(shared_server: Server, tmp_path: Path) -> None:
    assert run(shared_server, TOKENIZER, tmp_path) == {
        "version": "4.57.6",
        "ids": True,
        "hidden": 64,
        "files": [True, False],
        "missing": None,
    }


def test_datasets_loads_lines_and_columns(shared_server: Server, tmp_path: Path) -> None:
    assert run(shared_server, DATASETS, tmp_path) == {
        "lines": [900, 100],
        "same": True,
        "streamed": True,
        "few": True,
        "shards": True,
    }


def test_sentence_transformers_push_and_load(shared_server: Server, tmp_path: Path) -> None:
    out = shared_server.run(sys.executable, "-c", SENTENCES, str(tmp_path / "model")).stdout

    assert json.loads(out.splitlines()[-1]) == ["Transformer", "Pooling", True]
