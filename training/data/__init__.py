"""Training data: JSONL that is checked line by line, and the token sequences made of it."""
