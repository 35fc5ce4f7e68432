"""The original's binarised text as a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.foreign_classes import pickle_as
from tests.support.small_tokenizer import SPECIAL, write_original
from xlm_core import CorpusError, XLMTokenizer
from xlm_core.corpus import Corpus, convert_binarized
from xlm_core.objectives import ObjectiveSettings
from xlm_core.training.config import DataSettings, DurationSettings, TrainingConfig
from xlm_core.training.data import TrainingData


class Dictionary:
    """As the original's: attributes alone."""

    def __init__(self, words: dict[int, str]) -> None:
        self.id2word = words
        self.word2id = {word: i for i, word in words.items()}
        self.counts = dict.fromkeys(self.word2id, 1)
        self.bos_index, self.eos_index, self.pad_index, self.unk_index = range(4)


@pytest.fixture
def named_as_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is pickled under the original's name."""
    pickle_as(monkeypatch, Dictionary, "xlm.data.dictionary")


def binarized(path: Path, folder: Path, **changed: Any) -> XLMTokenizer:
    codes, vocabulary = (folder / name for name in ("codes", "vocab"))
    tokenizer = XLMTokenizer.from_facebook(codes, vocabulary)
    lines = vocabulary.read_text(encoding="utf-8").splitlines()
    special = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10))]
    words = dict(enumerate([*special, *(line.split(" ")[0] for line in lines)]))
    data = {
        "dico": Dictionary(words),
        "positions": np.array([[0, 3], [4, 4], [5, 6]]),
        "sentences": np.array([14, 3, 16, 1, 1, 15, 1], dtype=np.uint16),
        "unk_words": {"x": 1},
    }
    torch.save(data | changed, path, pickle_protocol=4)
    return tokenizer


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return write_original(tmp_path / "tokenizer")


@pytest.mark.usefixtures("named_as_there")
def test_sentences_and_vocabulary_are_kept(tmp_path: Path, original: Path) -> None:
    tokenizer = binarized(tmp_path / "train.en.pth", original)
    convert_binarized(tmp_path / "train.en.pth", tmp_path / "train.en", ["en"])
    corpus = Corpus.open(tmp_path / "train.en", tokenizer)  # which compares vocabularies
    assert [sentence.tolist() for sentence in corpus] == [[14, 3, 16], [], [15]]
    assert corpus.info.unknowns == 1
    cut = convert_binarized(tmp_path / "train.en.pth", tmp_path / "cut", ["en"], max_vocab=16)
    assert [sentence.tolist() for sentence in cut] == [[14, 3, 3], [], [15]]
    with pytest.raises(CorpusError, match="exists"):
        convert_binarized(tmp_path / "train.en.pth", tmp_path / "cut", ["en"])
    with pytest.raises(CorpusError, match=r"first 16 ids of this tokenizer's 34 \(--max-vocab\)"):
        Corpus.open(tmp_path / "cut", tokenizer)
    XLMTokenizer.from_pretrained(original, max_vocab=16).save_pretrained(tmp_path / "tokenizer16")
    Corpus.open(tmp_path / "cut", XLMTokenizer.from_pretrained(tmp_path / "tokenizer16"))
    tokenizer.add_tokens(["added"])
    Corpus.open(tmp_path / "train.en", tokenizer)


@pytest.mark.usefixtures("named_as_there")
def test_counts_for_sampling_are_the_vocabulary_s_or_the_text_s(
    tmp_path: Path, original: Path
) -> None:
    """A corpus keeps no counts of the original's dictionary."""
    tokenizer = binarized(tmp_path / "train.en.pth", original)
    convert_binarized(tmp_path / "train.en.pth", tmp_path / "train.en", ["en"])
    tokenizer.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "vocab").unlink(missing_ok=True)
    config = TrainingConfig(
        output="run",
        tokenizer="saved",
        objectives={"mlm": ["en"]},
        model={"emb_dim": 8, "n_layers": 1, "n_heads": 2},
        batches=ObjectiveSettings(batch_size=1, bptt=4, sample_alpha=0.5),
        data=DataSettings(train={"en": "train.en"}),
        duration=DurationSettings(updates=1),
    )
    of_text = TrainingData.open(config, tmp_path)
    assert "are counted in the texts to train on" in of_text.counts_from
    counts = of_text.counts(of_text.vocab_size)
    assert {i: n for i, n in enumerate(counts.tolist()) if n} == {14: 1, 15: 1, 16: 1}
    [batch] = of_text.batches(of_text.model_config()).global_batch(0)
    assert batch.predicted == 1
    (tmp_path / "saved" / "vocab").write_bytes((original / "vocab").read_bytes())
    listed = TrainingData.open(config, tmp_path)
    assert listed.counts_from == f"words have their counts in {tmp_path / 'saved' / 'vocab'}"
    assert {*listed.counts(listed.vocab_size)[len(SPECIAL) :]} == {9}


@pytest.mark.usefixtures("named_as_there")
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"positions": np.array([[0, 3], [4, 4]])}, "positions do not fit"),
        ({"positions": np.array([[0, 2], [3, 4], [5, 6]])}, "does not end in </s>"),
        ({"sentences": np.array([14, 3, 9999, 1, 1, 15, 1], dtype=np.uint16)}, "the id 9999"),
        ({"sentences": np.zeros(7)}, "another form"),
        ({"dico": {"id2word": {5: "a"}}}, "another form"),
        (
            {"positions": np.zeros((0, 2), np.int64), "sentences": np.zeros(0, np.uint16)},
            "train.en.pth is empty: expected sentences",
        ),
        (
            {"positions": np.zeros(0, np.int64), "sentences": np.zeros(0, np.uint16)},
            "train.en.pth is empty: expected sentences",
        ),
        ({"dico": {"id2word": {0: "a", "b": "b", None: "c"}}}, "another form"),
    ],
)
def test_damaged_text_is_refused(
    tmp_path: Path, original: Path, changed: dict[str, Any], words: str
) -> None:
    binarized(tmp_path / "train.en.pth", original, **changed)
    with pytest.raises(CorpusError, match=words):
        convert_binarized(tmp_path / "train.en.pth", tmp_path / "train.en", ["en"])
    assert not (tmp_path / "train.en").exists()


@pytest.mark.usefixtures("named_as_there")
@pytest.mark.parametrize("languages", ["", [""], ["en", " "], []])
def test_text_of_no_language_is_refused(tmp_path: Path, original: Path, languages: Any) -> None:
    binarized(tmp_path / "train.en.pth", original)
    with pytest.raises(CorpusError, match=r"languages are .*: expected names such as 'en'"):
        convert_binarized(tmp_path / "train.en.pth", tmp_path / "train.en", languages)
    assert not (tmp_path / "train.en").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"absent.pth is no file: expected text that .*preprocess"
    ):
        convert_binarized(tmp_path / "absent.pth", tmp_path / "corpus", ["en"])
    torch.save({"model": {}}, tmp_path / "model.pth")
    with pytest.raises(CorpusError, match="holds no binarised text"):
        convert_binarized(tmp_path / "model.pth", tmp_path / "corpus", ["en"])
