"""How long a client asks again before it gives up."""

import random
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is tried, and the waits in between, which double from the first on."""

    tries: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 20.0

    def wait(self, failures: int) -> None:
        """Sleep after so many failures in a row, a random part shorter so that clients spread."""
        most = min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1))
        time.sleep(random.uniform(0.5, 1) * most)
