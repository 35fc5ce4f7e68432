"""Text to ids and back: normalisation, Moses, BPE, and the tokenizer that joins them."""
