"""Patterns mean what git says they mean: compared with the real git binary."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.catalog.attributes import INITIAL_ATTRIBUTES, goes_through_lfs
from app.catalog.patterns import is_ignored, is_lfs_tracked, parse_attributes, parse_ignore

IGNORE = """\
# a comment
*.log
!keep.log
/root.txt
build/
docs/**/*.tmp
**/cache
data/**
a/*/z
[ab]?.bin
!data/important
"""
PATHS = [
    "x.log", "keep.log", "d/keep.log", "root.txt", "d/root.txt", "build/x", "d/build/y/z", "build2",
    "docs/a.tmp", "docs/x/y/a.tmp", "docs/a.txt", "cache", "d/cache/x", "data/x", "data/important",
    "data", "a/b/z", "a/b/c/z", "a/z", "ax.bin", "cx.bin", "d/bx.bin", "build", "d/x.log/y",
]  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def git_ignores(checkout: Path, rules: str, paths: list[str]) -> set[str]:
    (checkout / ".gitignore").write_text(rules)
    done = subprocess.run(
        ["git", "-C", str(checkout), "check-ignore", "--no-index", "--stdin"],
        input="\n".join(paths),
        capture_output=True,
        text=True,
        check=False,
    )
    return set(done.stdout.splitlines())


def test_ignore_rules_are_gits(checkout: Path):
    ignored = {path for path in PATHS if is_ignored(parse_ignore(IGNORE), path)}
    assert ignored == git_ignores(checkout, IGNORE, PATHS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=st.lists(
        st.text(alphabet="ab*/?!", min_size=1, max_size=6).filter(
            lambda rule: rule.strip("!/") and "***" not in rule and "//" not in rule
            and all("**" not in part or part == "**" for part in rule.strip("!/").split("/"))
            and not rule.startswith("!!")
        ),
        min_size=1,
        max_size=4,
    )
)  # fmt: skip
def test_random_ignore_rules_are_gits(checkout: Path, rules: list[str]):
    text = "\n".join(rules) + "\n"
    paths = ["a", "b", "ab", "a/b", "b/a", "a/a/b", "a/b/a", "b/ab/a", "ab/ba"]
    ignored = {path for path in paths if is_ignored(parse_ignore(text), path)}
    assert ignored == git_ignores(checkout, text, paths)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors", True),
        ("deep/er/model.safetensors", True),
        ("model.gguf", True),
        ("archive.tar.gz", True),
        ("saved_model/variables/x", True),
        ("events.out.tfevents.123", True),
        ("config.json", False),
        ("README.md", False),
    ],
)
def test_new_repos_track_weights(path: str, expected: bool):
    assert is_lfs_tracked(parse_attributes(INITIAL_ATTRIBUTES.decode()), path) is expected


def test_later_attributes_win():
    rules = parse_attributes("*.bin filter=lfs -text\nsmall.bin -filter\n*.txt filter=other\n")
    assert is_lfs_tracked(rules, "x.bin")
    assert not is_lfs_tracked(rules, "d/small.bin")
    assert not is_lfs_tracked(rules, "x.txt")


def test_size_decides_where_patterns_do_not():
    assert goes_through_lfs("", "x.txt", 10 << 20, 10 << 20)
    assert not goes_through_lfs("", "x.txt", 9 << 20, 10 << 20)
    assert not goes_through_lfs("* filter=lfs", "empty", 0, 10 << 20)


def test_hostile_patterns_cost_little():
    hostile = "/".join(["**", "*a" * 60 + "b"] * 4)
    assert not is_ignored(parse_ignore(hostile), "/".join(["a" * 200] * 30))
