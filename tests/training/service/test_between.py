"""What other threads ask of the one that trains is done by it, or refused once it has left."""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from training.service.between import Between


def test_work_is_done_by_who_serves_and_its_result_or_error_comes_back() -> None:
    def fail() -> None:
        raise ValueError("no")

    with ThreadPoolExecutor(2) as threads, Between() as between:
        asked = threads.submit(between, threading.get_ident)
        failed = threads.submit(between, fail)
        while not (asked.done() and failed.done()):
            between.serve()
    assert asked.result() == threading.get_ident()
    with pytest.raises(ValueError, match="no"):
        failed.result()


def test_nobody_waits_for_who_has_left() -> None:
    with ThreadPoolExecutor(2) as threads:
        with Between() as between:
            early = threads.submit(between, threading.get_ident)
        late = threads.submit(between, threading.get_ident)
        for each in (early, late):
            with pytest.raises(CancelledError):
                each.result(60)
