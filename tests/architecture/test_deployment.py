"""docker-compose.yml and Dockerfile need an engine to run; their claims about us do not."""

import re
from pathlib import Path

import yaml

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_sets_only_settings_that_exist() -> None:
    for service in COMPOSE["services"].values():
        for name in service.get("environment", {}):
            if name.startswith("CLADE_"):
                top, _, nested = name.removeprefix("CLADE_").lower().partition("__")
                model = Settings.model_fields[top].annotation if nested else Settings
                assert (nested or top) in model.model_fields, name


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

    assert copied >= {"app", "client", "codec", "serving", "workers", "migrations"}
