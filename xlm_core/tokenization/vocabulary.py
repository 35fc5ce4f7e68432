"""The public names of what reads vocabularies and merges."""

from xlm_core.tokenization.files.vocabulary_files import (
    SPECIAL_WORDS,
    Merges,
    read_code_counts,
    read_merges,
    read_original_vocabulary,
    read_vocabulary,
    vocabulary_of_words,
)

__all__ = [
    "SPECIAL_WORDS",
    "Merges",
    "read_code_counts",
    "read_merges",
    "read_original_vocabulary",
    "read_vocabulary",
    "vocabulary_of_words",
]
