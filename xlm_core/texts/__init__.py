"""Texts through a model: what `fill_mask`, `score` and `encode` do around its forward passes."""
