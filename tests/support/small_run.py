"""A configuration of a run on a few sentences, which takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.small_tokenizer import SPECIAL, small_tokenizer
from xlm_core.corpus import CorpusWriter

CONFIG = """
output = "{folder}/run"
tokenizer = "{folder}/tokenizer"
seed = 3
[model]
emb_dim = 8
n_layers = 1
n_heads = 2
max_position_embeddings = 64
[objectives]
{objectives}
[data.train]
en = "{folder}/train.en"
fr = "{folder}/train.fr"
en-fr = ["{folder}/train.en", "{folder}/train.fr"]
[data.valid]
en = "{folder}/valid.en"
fr = "{folder}/valid.fr"
en-fr = ["{folder}/valid.en", "{folder}/valid.fr"]
[batches]
batch_size = 4
bptt = 8
max_len = 12
[optimizer]
learning_rate = 0.01
warmup_updates = 4
[duration]
updates = 8
evaluate_every = 4
save_every = 3
log_every = 2
[stopping]
{stopping}
"""
OF_PAIRS = 'mlm = ["en", "fr", "en-fr"]\nmt = ["en-fr"]'
MASKED = 'mlm = ["en", "fr", "en-fr"]'
CAUSAL = 'clm = ["en", "fr"]'


def write_texts(folder: Path) -> None:
    """A tokenizer and corpora of random sentences, in which some words follow others."""
    tokenizer = small_tokenizer(folder / "tokenizer")
    drawn = np.random.default_rng(0)
    words = len(tokenizer) - len(SPECIAL)
    for split, sentences in (("train", 40), ("valid", 5)):
        for language in ("en", "fr"):
            with CorpusWriter(folder / f"{split}.{language}", tokenizer, [language]) as corpus:
                for _ in range(sentences):
                    first = int(drawn.integers(words))
                    length = int(drawn.integers(2, 10))
                    corpus.add([len(SPECIAL) + (first + at) % words for at in range(length)])


def write_config(folder: Path, objectives: str = MASKED, stopping: str = "") -> Path:
    """The file of a run in this folder."""
    file = folder / "run.toml"
    text = CONFIG.format(folder=folder, objectives=objectives, stopping=stopping)
    if "en-fr" not in objectives:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("en-fr"))
    file.write_text(text)
    return file
