"""Open what a tool computes with: a framework, a model, and the tokenizer that belongs to it."""
