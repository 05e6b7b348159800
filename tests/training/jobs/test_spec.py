"""A training file is read strictly; what is wrong is told by file and field."""

from pathlib import Path

import pytest

from training.jobs.spec import BadSpec, read_spec
from training.sched.shape import Layout

GOOD = 'base = "alice/base"\noutput = "out"\n[[jobs]]\nname = "a"\ndata = "a.jsonl"\n'


def read(directory: Path, text: str):
    file = directory / "train.toml"
    file.write_text(text)
    return read_spec(file)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    spec = read(tmp_path, GOOD.replace("alice/base", "base"))
    assert (spec.base, spec.output) == (str(tmp_path / "base"), tmp_path / "out")
    assert spec.jobs[0].data == tmp_path / "a.jsonl"
    assert read(tmp_path, GOOD).base == "alice/base"


def test_defaults_suit_the_layout(tmp_path: Path) -> None:
    spec = read(tmp_path, GOOD)
    assert spec.layout is None
    assert spec.settled(Layout.PADDED).policy_name == "minpad"
    assert spec.settled(Layout.PACKED).policy_name == "packed"
    assert read(tmp_path, 'policy = "fifo"\n' + GOOD).settled(Layout.PACKED).policy_name == "fifo"
    job = spec.jobs[0]
    assert not job.is_full
    assert (job.total_steps(10), job.schedule(10).total_steps) == (30, 30)
    zen = read(tmp_path, GOOD + '[jobs.optimizer]\nkind = "zenflow"\n').jobs[0]
    assert zen.is_full


def test_the_example_of_the_docs_can_be_followed(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "training" / "lora.md").read_text()
    spec = read(tmp_path, page.split("```toml\n")[1].split("```")[0])
    assert [job.name for job in spec.jobs] == ["support", "summaries"]
    assert spec.jobs[0].adapter.options.scale == 2.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("base = ", "train.toml is no TOML"),
        ('base = "a/b"\noutput = "o"\n', "jobs: Field required"),
        (GOOD + 'colour = "red"\n', r"jobs\[0\].colour: Extra inputs"),
        (GOOD + 'steps = "many"\n', r"jobs\[0\].steps"),
        (GOOD.replace('"a"', '"../a"'), r"jobs\[0\].name"),
        (GOOD + "[jobs.adapter]\nr = 0\n", r"jobs\[0\].adapter: r is a rank from 1"),
        (GOOD + "[jobs.adapter]\nr = 100000\n", r"jobs\[0\].adapter: r is a rank from 1 to"),
        (GOOD + "[jobs.adapter]\ndropout = 1.5\n", "dropout is a share"),
        (GOOD + "[jobs.optimizer]\nlr = -1\n", r"jobs\[0\].optimizer.lr"),
        (GOOD + 'method = "lora"\n[jobs.optimizer]\nkind = "zenflow"\n', 'method is "full"'),
        (GOOD + "[jobs.optimizer]\nlr = nan\n", r"jobs\[0\].optimizer.lr"),
        (GOOD + "[jobs.optimizer]\nbetas = [0.9, 1.0]\n", "are two shares"),
        (GOOD + "[jobs.optimizer.zenflow]\ntopk_ratio = 0.1\n", 'need kind = "zenflow"'),
        (
            GOOD + '[jobs.optimizer]\nkind = "zenflow"\nzenflow = {update_interval = 0}\n',
            "update_interval is a number",
        ),
        (GOOD + '[jobs.optimizer]\nkind = "zenflow"\nzenflow = {speed = 1}\n', "zenflow: .*speed"),
        (GOOD + "[jobs.early_stop]\npatience = 0\n", "patience is at least 1"),
        (GOOD + '[jobs.early_stop]\nreasons = ["bored"]\n', r"early_stop.reasons\[0\]"),
        (GOOD + '[jobs.publish]\nrepo = "nowhere"\n', r"jobs\[0\].publish.repo"),
        (GOOD + '[[jobs]]\nname = "A"\ndata = "b"\n', "two jobs are called a"),
        (GOOD + '[[jobs]]\nname = "b"\ndata = "b"\nmethod = "full"\n', "file of its own"),
    ],
)
def test_what_is_wrong_is_told(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match=says):
        read(tmp_path, text)
