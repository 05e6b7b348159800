"""The allocator's settings are taken where there is glibc and left alone elsewhere."""

import platform
import subprocess
import sys

from app import allocator


def test_glibc_takes_the_settings():
    # In a process of its own: there is no way back to the defaults.
    script = "from app.allocator import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert allocator.keep_freed_memory() is False
