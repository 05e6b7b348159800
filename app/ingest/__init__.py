"""Bytes coming in: one pass over a stream, then one transaction that makes it visible."""
