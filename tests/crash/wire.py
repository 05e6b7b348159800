"""Dies, so far as the database and the store can tell, right after a step.

Once it is dead every further step fails, so that nothing tidies up behind the crash.
"""

import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from app.hub import Hub
from app.store.wrapper import StoreWrapper
from tests.crash.steps import APP


class Killed(BaseException):
    """The process is gone: not an Exception, so that nothing handles it."""


class Wire:
    """Watches the steps of one process, and ends it after one that ``dies`` says so of."""

    def __init__(self, hub: Hub, dies: Callable[[str], bool]) -> None:
        self.dead_at: str | None = None
        self._dies = dies
        self._hub = hub
        self._store = store = hub.store
        run = hub.db.run
        wire = self

        class Store(StoreWrapper):
            def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
                return wire.step("put", lambda: self.inner.put(key, chunks))

            def put_file(self, key: str, path: Path) -> int:
                return wire.step("put", lambda: self.inner.put_file(key, path))

            def delete(self, key: str) -> None:
                wire.step("delete", lambda: self.inner.delete(key))

        hub.store = Store(store)
        hub.db.run = lambda work, **options: wire.step(  # type: ignore[method-assign]
            "transaction", lambda: run(work, **options)
        )

    def take_off(self) -> None:
        """The process lives on, unwatched."""
        self._hub.store = self._store
        del self._hub.db.run  # of the instance, which hid its class's

    def step(self, kind: str, effect: Callable[[], Any]) -> Any:
        """One step: its effect, then perhaps the end."""
        self._fail_if_dead()
        result = effect()
        self._fail_if_dead()
        name = f"{'>'.join(reversed(list(_callers())))}:{kind}"
        if "heartbeat" not in threading.current_thread().name and self._dies(name):
            self.dead_at = name
            raise Killed(name)
        return result

    def _fail_if_dead(self) -> None:
        if self.dead_at is None:
            return
        if "heartbeat" in threading.current_thread().name:
            raise OSError("dead")  # a thread of its own: nobody catches what it raises
        raise Killed(self.dead_at)


def _callers() -> Iterator[str]:
    """The function of ours that made the step, then, while that is private, who called it."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(APP):
            name = re.sub(r"\.<\w+>", "", frame.f_code.co_qualname)
            module = ".".join(path.relative_to(APP).with_suffix("").parts)
            shown = f"{module}.{name}"
            yield shown
            if not name.rpartition(".")[2].startswith("_") or name.endswith("__"):
                return
        frame = frame.f_back
