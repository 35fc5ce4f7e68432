"""Turn lines of text into ids, subwords, words or a corpus: `xlm tokenize`."""

from conversion.tokenize.files import BATCH_LINES, Summary, open_tokenizer, tokenize_files
from conversion.tokenize.options import TARGETS, Options

__all__ = ["BATCH_LINES", "TARGETS", "Options", "Summary", "open_tokenizer", "tokenize_files"]
