"""Plugin list, nothing else."""

pytest_plugins = [
    "tests.fixtures.contents",
    "tests.fixtures.hub",
    "tests.fixtures.api",
    "tests.fixtures.lanes",
    "tests.fixtures.models",
    "tests.fixtures.published",
    "tests.fixtures.server",
    "tests.fixtures.services",
]
