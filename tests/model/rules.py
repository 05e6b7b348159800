"""The rules of docs/durability.md that the model can be run without, one at a time."""

from enum import Enum


class Rule(Enum):
    """A rule, by its number in docs/durability.md, and what goes without it."""

    INTENT = "W1: a row is there before the first byte"
    READ_BACK = "W2: what was put is read back before it counts"
    FENCE = "W3: only a pending object is published"
    UNIQUE_KEYS = "W4: a key is never used twice"
    COMMIT_LOOKS = "W5: a commit looks again, under locks, at what it names"
    PROVE_FIRST = "S1: a new encoding is decoded from a fresh read before the swap"
    SWAP_LOOKS = "S2: a swap looks again, under locks, at its base"
    OLD_STAYS = "S3: the old form outlives the swap"
    RETIRE_LOOKS = "S4: an object is retired only when nothing lies in it"
    MARKS_ARE_SEEN = "D1: what is condemned is so for everybody, and is looked at again at the end"
    BASES_COUNT = "D2: being a base is being referred to"
    ROWS_FIRST = "D3: rows go before the bytes that they name"
    DOOM = "D4: what is being deleted cannot be revived"
    PUT_BACK_LOOKS = "D5: putting back looks again at base and dependents"
    LIST_FIRST = "D6: the sweep lists first and looks for rows then"
    FOLLOW = "R1: a reader whose object is gone asks again where the content lies"
