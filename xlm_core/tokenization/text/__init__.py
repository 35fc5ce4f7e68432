"""A text to its words: normalisation, Moses, segmenters, accents, with and without spans."""
