"""A corpus on disk: sentences as ids, written as a stream and read by mapping it into memory.

A folder of three files:

- sentences.npy, `(tokens + sentences,)` uint16, or int32 from 65,536 ids on: the ids of all
  sentences, each followed by `</s>`;
- positions.npy, `(sentences, 2)` int64: begin and end of each sentence there, without its `</s>`;
- corpus.json: what `CorpusInfo` holds.

Both arrays are as the original has them in memory (`index_data` of xlm/data/dictionary.py), which
also leaves special tokens out, the unknown one excepted.
"""

from xlm_core.corpus.info import (
    INFO_FILE,
    POSITIONS_FILE,
    SENTENCES_FILE,
    VERSION,
    CorpusInfo,
    vocabulary_digest,
)
from xlm_core.corpus.original import convert_binarized
from xlm_core.corpus.reading import Corpus, IdArray
from xlm_core.corpus.writing import CorpusWriter, check_target

__all__ = [
    "INFO_FILE",
    "POSITIONS_FILE",
    "SENTENCES_FILE",
    "VERSION",
    "Corpus",
    "CorpusInfo",
    "CorpusWriter",
    "IdArray",
    "check_target",
    "convert_binarized",
    "vocabulary_digest",
]
