"""Low-rank updates: what two narrow matrices tell of how far a matrix has moved from its base."""
