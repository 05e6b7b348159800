"""A simulated engine under a virtual clock, run by the very policies that run real ones."""
