"""Users, tokens and organisations from the command line."""

from pathlib import Path

import pytest

from app.errors import Unauthorized
from tests.fixtures.command import Clade, principal_of


def test_seeding_users_may_be_repeated(clade: Clade, tmp_path: Path) -> None:
    seed = [
        *("user", "create", "__DUMMY_HUB_USER__", "--token", "hf_94wBhPGp", "--admin"),
        *("--org", "valid_org", "--org", "other-org", "--data", tmp_path / "hub", "--json"),
    ]

    first, second = clade(*seed), clade(*seed)

    assert first.status == second.status == 0
    assert first.facts == second.facts == {"name": "__DUMMY_HUB_USER__", "token": "hf_94wBhPGp"}
    seeded = principal_of(tmp_path / "hub", "hf_94wBhPGp")
    assert (seeded.name, seeded.is_admin, len(seeded.orgs)) == ("__DUMMY_HUB_USER__", True, 2)


def test_fresh_tokens_are_printed_once_and_work(clade: Clade, hub_data: Path) -> None:
    made = clade("user", "create", "bo", "--data", hub_data, "--json").facts
    reading = clade("user", "token", "bo", "--data", hub_data, "--json").facts

    assert principal_of(hub_data, made["token"]).role == "write"
    assert principal_of(hub_data, reading["token"]).role == "read"
    assert principal_of(hub_data, reading["token"]).name == "bo"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "ann"], "taken"),
        (["create", "ANN", "--token", "hf_new"], "taken"),
        (["create", "bo", "--token", "hf_ann"], "in use"),
        (["create", "bad name"], "not allowed"),
        (["create", "api"], "reserved"),
        (["create", "bo", "--token", "two words"], "printable"),
        (["create", "bo", "--org", "ann"], "is a user"),
        (["token", "nobody"], "no user"),
    ],
)
def test_bad_users_are_refused_in_one_line(
    clade: Clade, hub_data: Path, arguments: list[str], said: str
) -> None:
    assert said in clade("user", *arguments, "--data", hub_data).complaint
    with pytest.raises(Unauthorized):
        principal_of(hub_data, "hf_new")


def test_organisations_are_made_and_joined(clade: Clade, hub_data: Path) -> None:
    token = clade("user", "create", "bo", "--data", hub_data, "--json").facts["token"]
    made = clade(
        "org", "create", "lab", "--admin", "ann", "--private", "--data", hub_data, "--json"
    )
    joined = clade("org", "member", "lab", "bo", "--role", "contributor", "--data", hub_data)

    assert made.facts == {"name": "lab", "admins": "ann"}
    assert joined.status == 0
    assert list(principal_of(hub_data, token).orgs.values()) == ["contributor"]
    assert "taken" in clade("org", "create", "lab", "--admin", "ann", "--data", hub_data).complaint
    assert "no user" in clade("org", "create", "x", "--admin", "cy", "--data", hub_data).complaint
    assert "no organisation" in clade("org", "member", "x", "bo", "--data", hub_data).complaint
    assert "is a user" in clade("org", "member", "ann", "bo", "--data", hub_data).complaint
