"""Words to ids: BPE, the vocabulary, added tokens, and caches."""
