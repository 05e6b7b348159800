"""The process that renders chat templates: requests and answers are lines of JSON.

A template is a program of whoever made the model's repository. transformers' sandbox keeps it from
files and code, not from time and memory: that is for the kernel, which ends this process.
"""

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.defaults import DEFAULT_NAMESPACE
from transformers.utils.chat_template_utils import render_jinja_template

REFUSALS = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a template raises that does not fit the messages."""

TOLD_CHARACTERS = 2000
"""So much of what a template says when it refuses messages is passed on."""


OURS = {
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversations",
    "messages",
    "raise_exception",
    "return_assistant_tokens_mask",
    "strftime_now",
    *DEFAULT_NAMESPACE,
}
"""Names that no client may give a meaning to."""


def main() -> None:
    """Answer until stdin ends. Arguments: CPU seconds, bytes, characters of one rendering."""
    cpu_s, memory_nbytes, characters = (int(number) for number in sys.argv[1:])
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        _bound_memory(memory_nbytes)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        for line in sys.stdin.buffer:
            # Processor time, so that a busy machine refuses nobody; it also ends what is in C.
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            answer = answer_to(line, characters)
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(answer, file=answers, flush=True)


def answer_to(line: bytes, characters: int) -> str:
    """One of ``text``, ``refused`` (why) and ``over`` (which bound), as JSON."""
    try:
        return json.dumps(render(json.loads(line), characters))
    except MemoryError:
        return '{"over": "memory"}'
    except RecursionError:
        return '{"over": "depth"}'


def render(request: dict[str, Any], characters: int) -> dict[str, str]:
    """The answer to a request for ``template`` with ``messages`` and ``variables``."""
    try:
        (text,), _ = render_jinja_template(
            conversations=[request["messages"]],
            chat_template=request["template"],
            **granted(request["template"], request["wishes"], request["variables"]),
        )
    except REFUSALS as error:
        return {"refused": str(error)[:TOLD_CHARACTERS]}
    return {"text": text} if len(text) <= characters else {"over": "length"}


def granted(
    template: str, wishes: Mapping[str, Any], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """``variables``, and of the wishes those for which the template has a word and nobody else."""
    if not wishes:
        return dict(variables)
    names = wishes.keys() & set(re.findall(r"\w+", template)) - OURS - variables.keys()
    return {name: wishes[name] for name in names} | dict(variables)


def _bound_memory(nbytes: int) -> None:
    """Beyond what the process has taken by now (Linux; elsewhere only the rest is bounded)."""
    status = Path("/proc/self/statm")
    if status.exists():
        taken = int(status.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + nbytes, taken + nbytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
