"""Plugin list, nothing else."""

pytest_plugins = ["tests.fixtures.hub", "tests.fixtures.services"]
