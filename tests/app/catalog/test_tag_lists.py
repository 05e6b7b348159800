"""The tags in use: each once, by what it is about, and none of what one may not see."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from app.accounts.tokens import Principal, Scope, authenticate
from app.accounts.users import create_org, create_user
from app.catalog import indexing, tag_lists
from app.catalog.moving import move_repo
from app.catalog.naming import RepoType
from app.catalog.repos import set_private
from app.catalog.tag_lists import KINDS, kind_of, list_tags, seen_by
from app.catalog.tags import CardFacts, describe, parse_readme
from app.db.tables import Repo, RepoTag
from app.formats.model_card import parse_model_config
from app.hub import Hub
from app.ingest.creation import create_repo
from tests.app.catalog.test_indexing import write_card


@pytest.fixture
def people(any_hub: Hub) -> dict[str, Principal]:
    """Ada, who belongs to acme, and bob."""
    tokens = {name: create_user(any_hub, name).token for name in ("ada", "bob")}
    create_org(any_hub, "acme", admins=["ada"])
    with any_hub.db.read() as session:
        return {name: authenticate(session, token) for name, token in tokens.items()}


@pytest.fixture
def repos(any_hub: Hub, people: dict[str, Principal]) -> list[Repo]:
    """A public and a private one of each owner."""
    owners = [("ada", None), ("ada", "acme"), ("bob", None)]
    return [
        create_repo(any_hub, people[name], "model", owner, kind, private=kind == "private")
        for name, owner in owners
        for kind in ("public", "private")
    ]


Filed = Callable[[Iterable[tuple[int, str, str]]], None]


@pytest.fixture
def filed(any_hub: Hub, repos: list[Repo]) -> Filed:
    """Makes these the tags that there are: place of the repo, kind and tag."""

    def file_tags(tags: Iterable[tuple[int, str, str]]) -> None:
        rows = [
            {"type": "model", "kind": kind, "tag": tag}
            | {"repo_id": repos[place].id, "seen_by": seen_by(repos[place])}
            for place, kind, tag in tags
        ]

        def work(session) -> None:
            session.execute(delete(RepoTag))
            if rows:
                session.execute(insert(RepoTag), rows)

        any_hub.db.run(work)

    return file_tags


def listed(hub: Hub, who: Principal | None) -> dict[str, list[str]]:
    with hub.db.read() as session:
        return list_tags(session, who, "model")


def flat(tags: dict[str, list[str]]) -> set[str]:
    return {tag for some in tags.values() for tag in some}


# A tag is of one kind to one repo.
TAGS = st.dictionaries(
    st.tuples(st.integers(0, 5), st.sampled_from(["a", "A", "b", "license:b", "é", "z_", "%"])),
    st.sampled_from(["library", "language", "other", "base_model"]),
    max_size=30,
)


def test_everybody_gets_what_a_look_at_every_repo_finds(
    any_hub: Hub, people: dict[str, Principal], repos: list[Repo], filed: Filed
):
    ada = people["ada"]
    one_repo = replace(ada, role="fineGrained", scope=Scope(repos={repos[1].id: False}))
    foreign = replace(people["bob"], role="fineGrained", scope=Scope(repos={repos[1].id: False}))
    sees: list[tuple[Principal | None, set[int]]] = [
        (None, {0, 2, 4}),
        (ada, {0, 1, 2, 3, 4}),
        (people["bob"], {0, 2, 4, 5}),
        (one_repo, {0, 1, 2, 4}),
        (foreign, {0, 2, 4}),
    ]

    @given(TAGS)
    @settings(max_examples=40)
    def check(tags: dict[tuple[int, str], str]) -> None:
        filed((place, kind, tag) for (place, tag), kind in tags.items())
        for who, places in sees:
            by_kind = {
                kind: {tag for (place, tag), its in tags.items() if its == kind and place in places}
                for kind in KINDS["model"]
            }
            by_kind["other"] -= by_kind["library"] | by_kind["language"]
            assert listed(any_hub, who) == {kind: sorted(some) for kind, some in by_kind.items()}

    check()


def test_one_kind_has_a_bounded_number(
    any_hub: Hub, people: dict[str, Principal], filed: Filed, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tag_lists, "MOST", 5)
    filed((number % 4, "other", f"t{number:02}") for number in range(40))
    assert listed(any_hub, people["ada"])["other"] == [f"t{n:02}" for n in range(5)]
    assert len(listed(any_hub, None)["other"]) == 5


def test_tags_go_with_who_sees_the_repo(any_hub: Hub, people: dict[str, Principal]):
    ada, bob = people["ada"], people["bob"]
    repo = create_repo(any_hub, ada, "model", None, "m")
    write_card(any_hub, ada, repo, "mit")
    indexing.index_repo(any_hub, repo.id)
    assert flat(listed(any_hub, None)) == {"license:mit"}
    set_private(any_hub, repo, True)
    assert flat(listed(any_hub, bob)) == set()
    assert flat(listed(any_hub, ada)) == {"license:mit"}
    repo = move_repo(any_hub, ada, repo, "acme", "m")
    only_hers = replace(ada, orgs={})
    assert flat(listed(any_hub, only_hers)) == set()
    assert flat(listed(any_hub, ada)) == {"license:mit"}
    indexing.index_repo(any_hub, repo.id)
    assert flat(listed(any_hub, bob)) == set()
    set_private(any_hub, repo, False)
    assert flat(listed(any_hub, bob)) == {"license:mit"}


def test_who_hides_a_repo_while_it_is_indexed_hides_its_tags(
    any_hub: Hub, people: dict[str, Principal], monkeypatch: pytest.MonkeyPatch
):
    """Indexing has read the repo when it was public, and writes when it is not."""
    repo = create_repo(any_hub, people["ada"], "model", None, "m")
    write_card(any_hub, people["ada"], repo, "mit")
    read = indexing._read_small

    def hidden_meanwhile(hub: Hub, files):
        small = read(hub, files)
        set_private(hub, repo, True)
        return small

    monkeypatch.setattr(indexing, "_read_small", hidden_meanwhile)
    indexing.index_repo(any_hub, repo.id)
    with any_hub.db.read() as session:
        assert list(session.scalars(select(RepoTag.tag))) == ["license:mit"]
    assert flat(listed(any_hub, None)) == set()
    assert flat(listed(any_hub, people["ada"])) == {"license:mit"}


MODEL_CARD = b"""---
license: mit
language: [en, "no"]
pipeline_tag: text-generation
library_name: peft
datasets: acme/corpus
base_model: ada/base
tags: [en, tiny, language:de, "arxiv:2401.00001"]
---
"""
DATA_CARD = b"""---
license: mit
language: en
task_categories: [text-generation]
tags: [en, gguf, library:pandas]
---
"""


@pytest.mark.parametrize(
    ("repo_type", "card", "kinds"),
    [
        (
            "model",
            MODEL_CARD,
            {
                "pipeline_tag": {"text-generation"},
                "library": {"peft", "gguf"},
                "language": {"en", "no"},
                "dataset": {"dataset:acme/corpus"},
                "license": {"license:mit"},
                "base_model": {"base_model:ada/base"},
                "other": {"tiny", "language:de", "arxiv:2401.00001"},
            },
        ),
        (
            "dataset",
            DATA_CARD,
            {
                "language": {"language:en"},
                "license": {"license:mit"},
                "task_categories": {"task_categories:text-generation"},
                "format": {"format:json"},
                "other": {"en", "gguf", "library:pandas"},
            },
        ),
        (
            "space",
            b"---\nsdk: gradio\nlicense: mit\n---\n",
            {"license": {"license:mit"}, "other": {"gradio"}},
        ),
    ],
)
def test_what_a_tag_is_about_is_how_the_repo_came_to_it(
    repo_type: RepoType, card: bytes, kinds: dict[str, set[str]]
):
    facts: CardFacts = describe(
        repo_type, ["m.gguf", "rows.jsonl"], parse_readme(card), parse_model_config(b"{}")
    )
    found: dict[str, set[str]] = {}
    for tag in facts.tags:
        found.setdefault(kind_of(repo_type, tag, facts), set()).add(tag)
    assert found == kinds
    assert found.keys() <= {*KINDS[repo_type], "base_model"}
