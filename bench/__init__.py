"""Benches: one command per claim, ours beside its peers, interleaved in one run, as ratios."""
