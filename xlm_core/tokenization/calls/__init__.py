"""What a call to the tokenizer does with ids: frames, truncation, padding, alignment, tensors."""
