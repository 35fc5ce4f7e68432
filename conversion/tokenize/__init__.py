"""Turn lines of text into ids, subwords, words or a corpus: `xlm tokenize`."""
