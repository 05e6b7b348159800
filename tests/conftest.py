"""Plugin list and the profile of all property tests."""

import os
import shutil
from pathlib import Path

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.temporary",
    "tests.fixtures.services",
    "tests.fixtures.s3_proxy",
    "tests.fixtures.contents",
    "tests.fixtures.hub",
    "tests.fixtures.api",
    "tests.fixtures.client_calls",
    "tests.fixtures.lanes",
    "tests.fixtures.proposals",
    "tests.fixtures.published",
    "tests.fixtures.models",
    "tests.fixtures.server",
    "tests.fixtures.mirrors",
    "tests.fixtures.command",
    "tests.fixtures.telling",
]

# Every commit and every object is fsynced, some hundred thousand times in all: in memory that takes
# no time, and says as much of this code as a disk does. PYTEST_DEBUG_TEMPROOT=/tmp goes to disk.
MEMORY = Path("/dev/shm")
MEMORY_NBYTES = 8 << 30
"""What is free of it before it is used: the suite takes about one, parts of `make torture` more."""

if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NBYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# A busy machine is not a failure: no deadline, no complaint about slow generation. In CI the
# examples are the same for the same code, so that a change is judged by what it changed.
settings.register_profile(
    "clade",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("clade")
