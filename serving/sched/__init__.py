"""Scheduling policies: plain data in, one decision a step out; no tensors, no I/O, no clock."""
