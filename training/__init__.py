"""The fine-tuning tier: optimizers and trainers that know torch and nothing of the hub's inside."""
