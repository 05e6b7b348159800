"""Frames: their heads, their blocks, and coding them one block at a time."""
