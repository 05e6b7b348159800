"""Plugin list and the profile of all property tests."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.contents",
    "tests.fixtures.hub",
    "tests.fixtures.api",
    "tests.fixtures.lanes",
    "tests.fixtures.proposals",
    "tests.fixtures.published",
    "tests.fixtures.models",
    "tests.fixtures.server",
    "tests.fixtures.mirrors",
    "tests.fixtures.services",
    "tests.fixtures.command",
]

# A busy machine is not a failure: no deadline, no complaint about slow generation. In CI the
# examples are the same for the same code, so that a change is judged by what it changed.
settings.register_profile(
    "clade",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("clade")
