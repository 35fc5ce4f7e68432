"""Bytes, not XLM: the containers of checkpoints, and tensors that stay in them until read."""
