"""Tests that are killed leave no servers behind."""

from pathlib import Path

import psutil
import pytest

from app.settings import Settings
from tests.torture.stack import open_nursery, running_stack


@pytest.mark.attacks
@pytest.mark.skipif(not psutil.LINUX, reason="other systems do not tell of a parent's death")
def test_a_hub_ends_with_those_who_started_it(embedded_settings: Settings, tmp_path: Path):
    with (
        open_nursery() as nursery,
        running_stack(nursery, embedded_settings, tmp_path, None) as stack,
    ):
        server = psutil.Process(stack.pids.pop("serve"))
        nursery.kill()
        nursery.wait()
        try:
            server.wait(30)
        except psutil.TimeoutExpired:
            server.kill()
            raise
