"""Who trains in the next step, what it will take, and when to stop: pure policies."""
