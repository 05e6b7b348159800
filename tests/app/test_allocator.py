"""The allocator's settings are taken where there is glibc and left alone elsewhere."""

import platform
import resource
import subprocess
import sys
import textwrap

import pytest

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_threads_use_what_others_have_freed():
    script = """
        import threading
        from pathlib import Path
        from app.allocator import keep_freed_memory

        keep_freed_memory()
        turn, end = threading.Lock(), threading.Barrier(9)

        def work():
            with turn:
                for _ in range(3):
                    bytearray(24 << 20)
            end.wait()  # all threads live until the last one is done

        def resident_pages():
            return int(Path("/proc/self/statm").read_text().split()[1])

        before = resident_pages()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        end.wait()
        print(resident_pages() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * resource.getpagesize() < 2 * 24 << 20


def test_a_full_collection_passes_over_what_was_loaded():
    script = """
        import gc
        import app.main
        from app.allocator import spare_what_is_loaded

        loaded = len(gc.get_objects())
        spare_what_is_loaded()
        print(loaded, len(gc.get_objects()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    loaded, looked_at = map(int, done.stdout.split())
    assert looked_at < loaded / 100
