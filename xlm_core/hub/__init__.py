"""Published checkpoints by name."""
