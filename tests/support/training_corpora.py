"""Small corpora and batches to train on, for either framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.small_tokenizer import small_tokenizer
from xlm_core import XLMConfig
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.objectives import ObjectiveSettings, TrainingBatches, tasks_of
from xlm_core.training.learning_rate import InverseSquareRoot

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "fr")


def write_corpora(folder: Path, sentences: int = 60) -> None:
    """A corpus of each language; together they are a pair."""
    tokenizer, draw = small_tokenizer(folder / "tokenizer"), np.random.default_rng(0)
    for name in LANGUAGES:
        with CorpusWriter(folder / name, tokenizer, [name]) as writer:
            for _ in range(sentences):
                writer.add(draw.integers(14, 20, int(draw.integers(1, 12))).tolist())


def small_batches(folder: Path, config: XLMConfig, tasks: Any, **settings: Any) -> TrainingBatches:
    """Of the corpora in `folder`."""
    en, fr = (Corpus.open(folder / name) for name in LANGUAGES)
    chosen = {"batch_size": 4, "bptt": 8, "max_len": 12, "parts": 2, **settings}
    return TrainingBatches(
        config,
        tasks,
        corpora={"en": en, "fr": fr},
        pairs={LANGUAGES: (en, fr)},
        settings=ObjectiveSettings(**chosen),
        seed=3,
    )


def small_config(**changes: Any) -> XLMConfig:
    """A model of two layers."""
    sizes = {"vocab_size": 40, "emb_dim": 8, "n_layers": 2, "n_heads": 2}
    names = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}}
    fixed = {"max_position_embeddings": 64, "dropout": 0.0, "attention_dropout": 0.0}
    return XLMConfig(**{**sizes, **names, **fixed, **changes})


ALL_TASKS = (*tasks_of("mlm", ["en", "en-fr"]), *tasks_of("mt", ["fr-en"]))
MASKED_TASKS = tasks_of("mlm", ["en", "en-fr"])


class InterruptedOnce(InverseSquareRoot):
    """A learning rate at which Ctrl-C is pressed once, in this update."""

    def __init__(self, update: int) -> None:
        super().__init__(1e-2, 5)
        self._update: int | None = update

    def at(self, update: int) -> float:
        if update == self._update:
            self._update = None
            raise KeyboardInterrupt
        return super().at(update)
