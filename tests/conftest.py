"""Plugin list and the profile of all property tests."""

from hypothesis import settings

pytest_plugins = [
    "tests.fixtures.contents",
    "tests.fixtures.hub",
    "tests.fixtures.api",
    "tests.fixtures.lanes",
    "tests.fixtures.published",
    "tests.fixtures.models",
    "tests.fixtures.server",
    "tests.fixtures.services",
]

# No deadline: a busy machine is not a failure. What is slow shows in the duration report.
settings.register_profile("clade", deadline=None)
settings.load_profile("clade")
