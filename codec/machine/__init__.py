"""What the processor can do, and compiled code that is made for it and kept."""
