"""Many LoRA jobs over one frozen base in one process, each as if it were alone (ASPEN)."""
