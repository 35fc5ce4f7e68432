"""A tokenizer's files: its folder, vocabularies and merges."""
