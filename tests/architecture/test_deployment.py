"""What is deployed elsewhere cannot be run here; its claims about us can be held to the truth."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MANIFESTS: dict[str, dict[str, Any]] = {
    f"{document['kind']}/{document['metadata']['name']}": document
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
}


def is_setting(name: str) -> bool:
    top, _, nested = name.removeprefix("CLADE_").lower().partition("__")
    model: Any = Settings.model_fields[top].annotation if nested else Settings
    return (nested or top) in model.model_fields


def test_compose_sets_only_settings_that_exist() -> None:
    names = {
        name
        for service in COMPOSE["services"].values()
        for name in service.get("environment", {})
        if name.startswith("CLADE_")
    }
    assert {name for name in names if not is_setting(name)} == set()


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_what_kubernetes_takes(name: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], "1.37", strict=True)


def test_manifests_set_only_settings_that_exist() -> None:
    names = {*MANIFESTS["ConfigMap/clade"]["data"], *MANIFESTS["Secret/clade"]["stringData"]}
    assert {name for name in names if not is_setting(name)} == set()


def test_kustomization_names_every_manifest() -> None:
    folder = ROOT / "deploy" / "kubernetes"
    named = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
    there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {name.replace(".example", "") for name in there} == named


def test_pods_run_as_the_user_of_the_image() -> None:
    user = re.search(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user is not None
    pods = [item for item in MANIFESTS.values() if item["kind"] == "Deployment"]
    assert len(pods) == 3
    for pod in pods:
        assert pod["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(user[1])


def test_every_dependency_of_a_service_is_a_service_that_can_report_it() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        for name, wants in service.get("depends_on", {}).items():
            assert name in services
            if wants["condition"] == "service_healthy":
                assert "healthcheck" in services[name], name


def test_named_volumes_are_declared() -> None:
    used = {
        volume.partition(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
    }

    assert used <= set(COMPOSE["volumes"])


def test_image_copies_every_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))

    packages = {"app", "chat", "client", "codec", "serving", "training", "workers"}
    assert copied >= packages | {"migrations"}
