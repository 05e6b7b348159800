"""`clade explain` as people type it."""

from tests.fixtures.api import ALICE_TOKEN, BOB_TOKEN, running_server
from tests.fixtures.command import Clade
from tests.fixtures.models import ModelHub, base_weights, tuned

TENSOR = "embed_tokens.weight"


def test_explain_tells_what_is_stored_what_depends_and_what_goes(
    clade: Clade, models: ModelHub
) -> None:
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/tune", {**tuned(base, 1), "layers.1.up.weight": base["layers.1.up.weight"]})
    models.run_jobs()
    with running_server(models.hub) as url:
        where = ("--endpoint", url, "--token", ALICE_TOKEN)
        facts = clade("explain", "alice/base", *where, "--json").facts
        shown = clade("explain", "alice/base", *where).out
        theirs = clade("explain", "bob/tune", "--endpoint", url, "--token", BOB_TOKEN).out
        tensors = clade(
            "explain", "alice/base", *where, "--tensors", "model.safetensors", "--json"
        ).facts["tensors"]
        listed = clade("explain", "bob/tune", *where, "--tensors", "model.safetensors").out
        [ref] = clade("explain", "alice/base", *where, "--ref", "none").complaint.splitlines()
        refused = clade("explain", "alice/base", *where, "--rebase").complaint
        both = clade("explain", "alice/base", *where, "--ref", "a", "--squash", "b")
        nobody = clade("explain", "alice/none", *where).complaint
    assert facts["stored_bytes"] <= facts["logical_bytes"]
    assert [link["repo"] for link in facts["dependents"]] == ["bob/tune"]
    without = facts["without"]
    kept = without["shared_bytes"] + without["pinned_bytes"]
    assert facts["stored_bytes"] == without["freed_bytes"] + kept
    assert without["bucket"] is None
    for said in ("bob/tune", f"{without['freed_bytes']:,}", "without the repository"):
        assert said in shown
    assert "alice/base" in theirs
    by_name = {each["name"]: each for each in tensors}
    assert by_name[TENSOR]["dependents"] == [{"repo": "bob/tune", "type": "model"}]
    assert by_name[TENSOR]["without_repo"] == "pinned"
    assert by_name["layers.1.up.weight"]["holders"] == [{"repo": "bob/tune", "type": "model"}]
    assert by_name["layers.1.up.weight"]["without_repo"] == "shared"
    assert "against alice/base" in listed
    assert "none" in ref
    assert "administrators" in refused
    assert both.status == 2
    assert "not found" in nobody
