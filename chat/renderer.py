"""Chat templates rendered in a process of their own, which may be ended and started anew."""

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from chat import child

CPU_S = 2
"""Processor time of one rendering, seconds; ordinary ones take less than a millisecond."""

MEMORY_NBYTES = 512 << 20
"""Memory of one rendering, beside what the process needs to be there."""

CHARACTERS = 32 << 20
"""Longest text; request bodies and lines of training data are shorter."""

WALL_S = 60.0
"""After this time the process is taken for lost, however little it did."""

OVER = {
    "memory": f"it takes more than {MEMORY_NBYTES >> 20} MiB of memory",
    "depth": "its macros or blocks are nested too deeply",
    "length": f"it makes more than {CHARACTERS:,} characters of them",
    "time": f"it takes more than {CPU_S} s of processor time",
    "lost": f"the process that renders it ended, or did not answer within {WALL_S:.0f} s",
}
"""What is said of a template that leaves a bound."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_TIME", "TZ", "LD_LIBRARY_PATH")
_ROOT = Path(__file__).resolve().parents[1]


class TemplateRefused(ValueError):
    """The template does not take these messages, and says why."""


class TemplateTooCostly(Exception):
    """Rendering left a bound; the text says which. The same messages will do so again."""


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    *,
    chat_template: str | None = None,
    **variables: Any,
) -> str:
    """The text that ``tokenizer.apply_chat_template(…, tokenize=False)`` gives, within bounds.

    ``variables``: its other arguments and whatever the template reads, as plain JSON. Raises
    TemplateRefused, TemplateTooCostly, and ValueError if there is no template.
    """
    template = tokenizer.get_chat_template(chat_template, variables.get("tools"))
    if not messages:
        raise TemplateRefused("there are no messages")
    # As apply_chat_template has it: templates take a missing key better than None.
    present = [{k: v for k, v in message.items() if v is not None} for message in messages]
    return shared_renderer().render(
        template, present, {**tokenizer.special_tokens_map, **variables}
    )


class ChatRenderer:
    """One process and who waits for it. Thread-safe; renders one chat at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        """Processes started so far."""

    def start(self) -> None:
        """Have the process at hand: it takes a second to come up, which nobody waits for here."""
        with self._lock:
            self._running()

    def render(
        self, template: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
    ) -> str:
        """The text. Raises as :func:`render_chat`."""
        asked = {"template": template, "messages": messages, "variables": variables}
        try:
            line = json.dumps(asked, default=_placeholder).encode() + b"\n"
        except RecursionError as error:
            raise TemplateRefused("they are nested too deeply") from error
        with self._lock:
            answer = self._ask(line)
            if "over" in answer:
                self._end()
                self._running()  # for the next one, who need not wait for all of its start
        if "over" in answer:
            raise TemplateTooCostly(OVER[answer["over"]])
        if "refused" in answer:
            raise TemplateRefused(answer["refused"])
        return answer["text"]

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        with self._lock:
            self._end()

    def _ask(self, line: bytes) -> dict[str, str]:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            return {"over": "lost"}
        answer = _read_line(process)
        if answer:
            return json.loads(answer)
        process.kill()
        return {"over": "time" if process.wait() == -signal.SIGPROF else "lost"}

    def _running(self) -> subprocess.Popen[bytes]:
        """The process; one that ended while nobody asked it anything is replaced."""
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
            # Threads of BLAS would take address space each; nothing here multiplies matrices.
            alone = {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    child.__name__,
                    *map(str, (CPU_S, MEMORY_NBYTES, CHARACTERS)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=kept | alone,
                start_new_session=True,  # a terminal's Ctrl-C is for us, whose end ends its stdin
            )
            self.starts += 1
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.communicate()


def _read_line(process: subprocess.Popen[bytes]) -> bytes:
    """The next line of its output; empty if it ended or stays silent for too long."""
    assert process.stdout is not None
    got: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(WALL_S):
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                return b""
            got.append(part)
            if part.endswith(b"\n"):
                return b"".join(got)
    return b""


def _placeholder(value: object) -> str:
    """As transformers shows templates what is no plain data."""
    return f"<{type(value).__name__}>"


@cache
def shared_renderer() -> ChatRenderer:
    """The one of this process."""
    renderer = ChatRenderer()
    atexit.register(renderer.close)
    return renderer
