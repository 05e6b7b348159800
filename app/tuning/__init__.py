"""Fine-tuning as the hub sees it: files, jobs, and the trainers that lease them."""
