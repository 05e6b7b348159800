"""Long headers are parsed in a child process with bounds of its own, which may be killed.

A header costs up to eight times its size in memory and a second of CPU per 20 MB; a hostile one
must not cost the server more than a subprocess. The child reads the first bytes of the file from
stdin and writes its answer as JSON columns to stdout; it has no environment and opens nothing.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.errors import Unavailable
from app.formats import gguf, safetensors
from app.formats.segments import Doubt, FileSegment, Format, HeaderLimits, Layout, NeedMore

MEMORY_NBYTES = 2 << 30
CPU_S = 20
WALL_S = 120

PARSERS = {"safetensors": safetensors.parse, "gguf": gguf.parse}

_ROOT = Path(__file__).resolve().parents[2]


def parse(
    file_format: Format, prefix: bytes, file_nbytes: int, limits: HeaderLimits
) -> Layout | NeedMore:
    """What the parser of ``file_format`` says, asked in a child process.

    Raises :class:`Doubt` for a doubtful header and for one that costs too much, and
    :class:`Unavailable` if no process could be started.
    """
    command = [sys.executable, "-S", "-m", __name__, file_format]
    numbers = (MEMORY_NBYTES, CPU_S, file_nbytes, limits.header_nbytes, limits.tensors)
    command += map(str, numbers)
    try:
        done = subprocess.run(
            command,
            input=prefix,
            capture_output=True,
            timeout=WALL_S,
            env={"PYTHONPATH": str(_ROOT)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Doubt(f"its header took more than {WALL_S} s to read") from None
    except OSError as error:
        raise Unavailable("no process could be started to read a header; try again") from error
    if done.returncode != 0:
        raise Doubt(f"its header took more than {CPU_S} s or {MEMORY_NBYTES >> 30} GiB to read")
    return _unpack(json.loads(done.stdout))


def _pack(answer: Layout | NeedMore | Doubt) -> dict[str, Any]:
    if isinstance(answer, NeedMore):
        return {"need": answer.nbytes}
    if isinstance(answer, Doubt):
        return {"fault": answer.fault}
    columns = [
        [getattr(segment, field) for segment in answer.segments] for field in FileSegment.__slots__
    ]
    return {"format": answer.format, "columns": columns}


def _unpack(answer: dict[str, Any]) -> Layout | NeedMore:
    if "need" in answer:
        return NeedMore(answer["need"])
    if "fault" in answer:
        raise Doubt(answer["fault"])
    segments = (
        FileSegment(start, nbytes, role, name, dtype, None if shape is None else tuple(shape))
        for start, nbytes, role, name, dtype, shape in zip(*answer["columns"], strict=True)
    )
    return Layout(answer["format"], tuple(segments))


def main() -> None:
    """Entry of the child process."""
    file_format, *numbers = sys.argv[1:]
    memory_nbytes, cpu_s, file_nbytes, header_nbytes, tensors = map(int, numbers)
    resource.setrlimit(resource.RLIMIT_AS, (memory_nbytes, memory_nbytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = PARSERS[file_format](
            sys.stdin.buffer.read(), file_nbytes, HeaderLimits(header_nbytes, tensors)
        )
    except Doubt as doubt:
        answer = doubt
    sys.stdout.write(json.dumps(_pack(answer)))
    sys.stdout.flush()
    os._exit(0)  # freeing a quarter of a million segments one by one takes longer than parsing


if __name__ == "__main__":
    main()
