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
from chat.bounds import Bounds

OVER = {
    "size": "it is longer than {0.template_nbytes:,} bytes (limit: templates.template_nbytes)",
    "memory": "it takes more than {0.memory_nbytes:,} bytes of memory (limit: "
    "templates.memory_nbytes)",
    "depth": "its macros or blocks are nested too deeply",
    "length": "it makes more than {0.characters:,} characters of them (limit: "
    "templates.characters)",
    "time": "it takes more than {0.cpu_s} s of processor time (limit: templates.cpu_s)",
    "lost": "the process that renders it ended, or did not answer within {0.wall_s:g} s (limit: "
    "templates.wall_s)",
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
    wishes: Mapping[str, Any] | None = None,
    **variables: Any,
) -> str:
    """The text that ``tokenizer.apply_chat_template(…, tokenize=False)`` gives, within bounds.

    ``variables``: its other arguments, as plain JSON. ``wishes``: what a client says beside its
    messages; of it the template gets what it reads, and nothing that is ours to say. Raises
    TemplateRefused, TemplateTooCostly, and ValueError if there is no template.
    """
    template = tokenizer.get_chat_template(chat_template, variables.get("tools"))
    if not messages:
        raise TemplateRefused("there are no messages")
    # As apply_chat_template has it: templates take a missing key better than None.
    present = [{k: v for k, v in message.items() if v is not None} for message in messages]
    ours = {**tokenizer.special_tokens_map, **variables}
    return shared_renderer().render(template, present, ours, wishes or {})


class ChatRenderer:
    """One process and who waits for it. Thread-safe; renders one chat at a time."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()  # pyright: ignore[reportCallIssue]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        """Processes started so far."""

    def start(self) -> None:
        """Have the process at hand: it takes a second to come up, which nobody waits for here."""
        with self._lock:
            self._running()

    def render(
        self,
        template: str,
        messages: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        wishes: Mapping[str, Any],
    ) -> str:
        """The text. Raises as :func:`render_chat`."""
        if len(template) > self.bounds.template_nbytes or (
            len(template.encode(errors="replace")) > self.bounds.template_nbytes
        ):
            raise TemplateTooCostly(self._told("size"))
        asked = {
            "template": template,
            "messages": messages,
            "variables": variables,
            "wishes": wishes,
        }
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
            raise TemplateTooCostly(self._told(answer["over"]))
        if "refused" in answer:
            raise TemplateRefused(answer["refused"])
        return answer["text"]

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        with self._lock:
            self._end()

    def _told(self, bound: str) -> str:
        return OVER[bound].format(self.bounds)

    def _ask(self, line: bytes) -> dict[str, str]:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            return {"over": "lost"}
        answer = _read_line(process, self.bounds.wall_s)
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
                [sys.executable, "-m", child.__name__, *map(str, self._kept_by_child())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=kept | alone,
                start_new_session=True,  # a terminal's Ctrl-C is for us, whose end ends its stdin
            )
            self.starts += 1
        return self._process

    def _kept_by_child(self) -> tuple[int, int, int]:
        return self.bounds.cpu_s, self.bounds.memory_nbytes, self.bounds.characters

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.communicate()


def _read_line(process: subprocess.Popen[bytes], wall_s: float) -> bytes:
    """The next line of its output; empty if it ended or stays silent for too long."""
    assert process.stdout is not None
    got: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(wall_s):
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
    """The one of this process. Raises ValueError for bounds that are none."""
    renderer = ChatRenderer()
    atexit.register(renderer.close)
    return renderer
