"""File formats, knowing nothing of XLM, and lazy tensors that stay in a file until read."""
