"""Worker processes that hold a copy of a tokenizer."""
