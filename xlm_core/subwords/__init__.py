"""Learning the subwords of a tokenizer: counted words, merges, and a vocabulary.

Source: Lample & Conneau 2019, section 3.1; fastBPE (learnbpe, getvocab), which the original uses.
"""

from xlm_core.subwords.counts import WordCounts, sentences_to_read
from xlm_core.subwords.merges import learn_merges
from xlm_core.subwords.vocabulary import count_subwords, words_of_vocabulary
from xlm_core.subwords.writing import codes_text, vocabulary_text

__all__ = [
    "WordCounts",
    "codes_text",
    "count_subwords",
    "learn_merges",
    "sentences_to_read",
    "vocabulary_text",
    "words_of_vocabulary",
]
