"""SPARSE: where a content leaves its base, and by how much."""
