"""PLANE and BITX: words cut into planes of bytes, and streams that hold a plane each."""
