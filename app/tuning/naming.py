"""Names of files, jobs and checkpoints: random, so that they tell nothing of each other."""

import secrets

from app.accounts.tokens import ALPHABET

LENGTH = 24


def new_name(kind: str) -> str:
    """``kind-`` and 143 bits of chance in letters and digits."""
    return f"{kind}-" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
