"""What to choose: how far tensors are apart, which base is near, what each codec would take."""
