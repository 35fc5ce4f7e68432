"""XLM's tokenizer and its parts.

`tokenizer` has the class. `text_encoder` turns texts into ids: `text` splits them into words,
`words` turns these into ids. `calls` frames, truncates, pads and aligns what a call returns,
`decoding` goes back from tokens to text, `files` reads and writes folders, and `workers` are
processes that share the work.
"""
