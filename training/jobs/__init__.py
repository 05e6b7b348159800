"""Training runs: a file that says what is wanted, to adapters and models on disk and on a hub."""
