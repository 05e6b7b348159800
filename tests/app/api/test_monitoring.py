"""Alerts and dashboard ask for what /metrics has, and the alerts fire when they should."""

import json
import re
import subprocess
from pathlib import Path

import yaml
from huggingface_hub import CommitOperationAdd

from tests.fixtures.api import LiveHub
from tests.fixtures.services import find_program

MONITORING = Path(__file__).resolve().parents[3] / "deploy" / "monitoring"
ONLY_WITH_JOBS = {"clade_jobs", "clade_job_oldest_wait_seconds"}


def asked_for() -> dict[str, set[str]]:
    """Names of our metrics by who asks for them."""
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    expressions = {rule["alert"]: rule["expr"] for rule in rules["groups"][0]["rules"]} | {
        panel["title"]: " ".join(target["expr"] for target in panel.get("targets", ()))
        for panel in panels
    }
    return {
        asker: set(re.findall(r"\b(?:clade|process)_\w+", text))
        for asker, text in expressions.items()
    }


def test_every_metric_that_is_asked_for_exists(live_hub: LiveHub):
    live_hub.api().create_repo("alice/model")
    live_hub.api().create_commit(
        "alice/model", [CommitOperationAdd("a", b"abc")], commit_message="a"
    )
    text = live_hub.http(None).get("/metrics").text
    there = set(re.findall(r"^([a-z]\w*)", text, re.MULTILINE)) | ONLY_WITH_JOBS
    missing = {asker: names - there for asker, names in asked_for().items()}
    assert {asker: names for asker, names in missing.items() if names} == {}


def test_dashboard_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_alerts_fire_when_they_should():
    checked = subprocess.run(
        [
            find_program("promtool", "apt-get install prometheus"),
            "test",
            "rules",
            "alerts_test.yml",
        ],
        cwd=MONITORING,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
