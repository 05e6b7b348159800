"""CTX: differences to a base, coded in contexts that the base tells."""
