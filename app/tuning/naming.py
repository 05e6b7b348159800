"""Names of files, jobs and checkpoints: random, so that they tell nothing of each other."""

import re
import secrets

from app.accounts.tokens import ALPHABET

LENGTH = 24


def new_name(kind: str) -> str:
    """``kind-`` and 143 bits of chance in letters and digits."""
    return f"{kind}-" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_name(text: str, kind: str) -> bool:
    """Whether anything could be called that; no database need be asked for what is not."""
    return re.fullmatch(rf"{kind}-[A-Za-z0-9]{{{LENGTH}}}", text) is not None
