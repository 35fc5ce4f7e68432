"""Words to ids: BPE, the vocabulary, and what is remembered of them."""
