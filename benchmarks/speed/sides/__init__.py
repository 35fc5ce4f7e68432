"""One file for each library: how it opens the weights and computes a task."""
