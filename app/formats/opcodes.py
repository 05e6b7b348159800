"""How far bytes get that somebody unpickles: a walk over their opcodes, in which nothing is made.

Of the stack only its height is kept, and of what opcodes carry only its length; so a load that the
walk ends before would have ended there too, and one that fails earlier costs a wrong suspicion.
"""

import pickletools
from typing import IO

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_NAMED_IMPORTS = {"GLOBAL", "INST"}
_CALLS = {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "EXT1", "EXT2", "EXT4"}
"""Call what was imported, or stands in a registry that is empty by default: else a load fails."""
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
"""By kind of argument: bytes of its length, and whether that has a sign."""


def asks_for_imports(file: IO[bytes]) -> bool:
    """Whether loading a file, pickle by pickle, may import anything before that fails or ends."""
    file.seek(0)
    height, beneath = 0, list[int]()  # of the stack above the last mark, and below each
    while (opcode := _OPCODES.get(file.read(1))) is not None:
        takes, leaves = opcode.stack_before, opcode.stack_after
        if opcode.name in _CALLS:
            return False
        if opcode.name == "MARK":
            beneath.append(height)
            height = 0
            continue
        if opcode.name == "POP" and height == 0 and beneath:
            height = beneath.pop()
            continue
        needs = len(takes)
        if pickletools.markobject in takes:
            if not beneath:
                return False
            needs, height = takes.index(pickletools.markobject), beneath.pop()
        if height < needs:
            return False
        if opcode.name == "STACK_GLOBAL":
            return True
        if opcode.name in _NAMED_IMPORTS:
            return _is_text(file.readline()) and _is_text(file.readline())
        if not _skip_argument(file, opcode.arg):
            return False
        height += len(leaves) - needs
        if opcode.name == "STOP":  # another pickle may follow, and whoever loads this one load it
            height, beneath = 0, []
    return False


def _skip_argument(file: IO[bytes], argument: pickletools.ArgumentDescriptor | None) -> bool:
    """Go on behind what follows an opcode; False where the file ends before."""
    if argument is None:
        return True
    if argument.n == pickletools.UP_TO_NEWLINE:
        return file.readline().endswith(b"\n")
    if argument.n >= 0:
        return len(file.read(argument.n)) == argument.n
    width, signed = _LENGTHS[argument.n]
    head = file.read(width)
    nbytes = int.from_bytes(head, "little", signed=signed)
    if len(head) < width or nbytes < 0:
        return False
    here = file.tell()
    if file.seek(0, 2) - here < nbytes:
        return False
    file.seek(here + nbytes)
    return True


def _is_text(line: bytes) -> bool:
    """Whether a line is one that a load would take for a name."""
    try:
        return line.decode().endswith("\n")
    except UnicodeDecodeError:
        return False
