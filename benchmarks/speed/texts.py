"""Texts of random words to train on: a vocabulary, a corpus, and sentences in a file's order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.tasks import Shape, Task, lengths_of
from xlm_core import XLMConfig, XLMTokenizer
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.objectives import ObjectiveSettings, TrainingBatches, tasks_of

SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10)))
EOS = 1
# Batches that are made ready; after the last one, the first comes again.
BATCHES = 24
LANGUAGE = "en"


def vocabulary_of(shape: Shape, folder: Path) -> Path:
    """A folder that XLMTokenizer of every library opens; one for all processes of this machine."""
    words = [*SPECIAL, *(f"word{i}</w>" for i in range(shape.vocab_size - len(SPECIAL)))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("w o</w> 1\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lowercase_and_remove_accent": True})
    )
    return folder


def config_of(task: Task) -> XLMConfig:
    """Of our model, with languages that have names."""
    return XLMConfig(**task.shape.config(), lang2id={LANGUAGE: 0, "fr": 1})


def sentences_of(task: Task) -> list[dict[str, list[int]]]:
    """Sentences between `</s>`, of the lengths that fill each batch of the task as it says."""
    rng = np.random.default_rng(2)
    lengths = np.tile(lengths_of(task), BATCHES)
    words = [rng.integers(len(SPECIAL), task.shape.vocab_size, max(n - 2, 0)) for n in lengths]
    return [
        {"input_ids": [EOS, *each.tolist(), EOS][:n]}
        for each, n in zip(words, lengths, strict=True)
    ]


def rows_of(task: Task) -> list[dict[str, list[int]]]:
    """Running text cut into rows of one length, as scripts for transformers do it."""
    whole = [i for sentence in sentences_of(task) for i in sentence["input_ids"]]
    ends = range(task.length, len(whole) + 1, task.length)
    return [{"input_ids": whole[end - task.length : end]} for end in ends]


def stream_of(task: Task, folder: Path) -> TrainingBatches:
    """The same text as our batches of a stream, from a corpus on disk."""
    path = folder / "corpus"
    tokenizer = XLMTokenizer.from_pretrained(vocabulary_of(task.shape, folder / "vocabulary"))
    with CorpusWriter(path, tokenizer, [LANGUAGE]) as writer:
        for sentence in sentences_of(task):
            writer.add(sentence["input_ids"])
    settings = ObjectiveSettings(batch_size=task.batch, bptt=task.length, word_pred=task.labelled)
    tasks = tasks_of("mlm", [LANGUAGE])
    corpora: dict[str, Any] = {LANGUAGE: Corpus.open(path)}
    return TrainingBatches(config_of(task), tasks, corpora=corpora, settings=settings)
