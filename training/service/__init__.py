"""Trainers of a hub: processes that lease its fine-tuning jobs and train them, a base to each."""
