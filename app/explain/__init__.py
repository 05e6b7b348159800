"""What a repo stores, what holds what, and what removing something would free."""
