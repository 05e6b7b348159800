"""File formats: the bytes of a file <-> its segments, strict and byte-exact."""
