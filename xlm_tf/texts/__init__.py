"""Texts in, results out: fillings of masks, log-probabilities and embeddings."""
