"""Texts to words: normalisation, Moses, segmenters, accents, with and without spans."""
