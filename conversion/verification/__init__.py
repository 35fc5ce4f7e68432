"""Prove two frameworks, or two checkpoints, equal by tensors and outputs: `xlm verify`."""
