"""The batch on which two models are compared: ids, attention mask, languages and labels.

Every sequence is there for a reason: no padding, padding on the right, padding on the left, a
single token. The batch is made in numpy from a fixed seed, so that a report can be reproduced
from the checkpoint alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xlm_core.config import XLMConfig
from xlm_core.heads import check_beams, problem_type_of
from xlm_core.weights import ENCODER_DECODER

Array = np.ndarray[Any, np.dtype[Any]]

SEED = 190107291
POSITIONS = 32
# Of each sequence: the share that is tokens, and the side of these.
ROWS = (
    (1.0, "right"),
    (0.75, "right"),
    (0.66, "left"),
    (0.0, "right"),  # a single token
    (0.5, "right"),
    (0.25, "left"),
)
CHOICES = 2
# Ids below this are special in every published vocabulary: <s> </s> <pad> <unk> <special0..9>.
FIRST_WORD = 14
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """What both models are called with.

    Attributes:
        inputs: Arrays by argument name: input_ids, attention_mask and, where the model has
            language embeddings, langs; all int64 of shape (batch, sequence), for multiple choice
            (batch, choices, sequence). Of an encoder-decoder, the same of the decoder as well.
        labels: Arrays by argument name, for the loss of the head; empty where it has none.
    """

    inputs: dict[str, Array]
    labels: dict[str, Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the ids."""
        return tuple(self.inputs["input_ids"].shape)

    @property
    def languages(self) -> int:
        """Number of different languages in the batch; 0 without language embeddings."""
        return len(np.unique(self.inputs["langs"])) if "langs" in self.inputs else 0


def verification_batch(config: XLMConfig, architecture: str, *, seed: int = SEED) -> Batch:
    """Make the batch for a model.

    Args:
        config: The configuration of the model.
        architecture: Its class, such as "XLMForTokenClassification".
        seed: Seed of the ids and the labels.

    Raises:
        InputError: If the beam head has beams longer than the longest sequence.
    """
    generator = np.random.default_rng(seed)
    sequence = POSITIONS
    if architecture == "XLMForQuestionAnswering":
        sequence = max(sequence, config.start_n_top, config.end_n_top)
    sequence = min(sequence, config.max_position_embeddings)
    if architecture == "XLMForQuestionAnswering":
        check_beams(config, sequence)

    mask = np.zeros((len(ROWS), sequence), dtype=np.int64)
    for row, (share, side) in enumerate(ROWS):
        tokens = max(1, int(share * sequence))
        mask[row, slice(0, tokens) if side == "right" else slice(sequence - tokens, None)] = 1
    words = ordinary_words(config)
    ids = np.where(mask == 1, generator.choice(words, size=mask.shape), config.pad_index)
    inputs = {"input_ids": ids.astype(np.int64), "attention_mask": mask}
    if config.has_lang_embeddings:
        inputs["langs"] = _languages(config.n_langs, sequence)
    if architecture == ENCODER_DECODER:
        mask = mask[::-1].copy()  # so that sources and targets are not alike
        ids = np.where(mask == 1, generator.choice(words, size=mask.shape), config.pad_index)
        target = {"input_ids": ids.astype(np.int64), "attention_mask": mask}
        if "langs" in inputs:
            target["langs"] = inputs["langs"][::-1].copy()
        inputs |= {f"decoder_{name}": array for name, array in target.items()}
    labels = _labels(config, architecture, mask, words, generator)
    if architecture == "XLMForMultipleChoice":
        inputs = {name: array.reshape(-1, CHOICES, sequence) for name, array in inputs.items()}
    return Batch(inputs, labels)


def ordinary_words(config: XLMConfig) -> Array:
    """The ids of ordinary words, int64; in a tiny vocabulary, special ones where need be."""
    special = {
        config.bos_index,
        config.eos_index,
        config.pad_index,
        config.unk_index,
        config.mask_index,
    }
    for first, avoided in ((FIRST_WORD, special), (0, special), (0, {config.pad_index})):
        words = [index for index in range(first, config.vocab_size) if index not in avoided]
        if words:
            return np.array(words, dtype=np.int64)
    return np.array([config.pad_index], dtype=np.int64)


def _languages(languages: int, sequence: int) -> Array:
    """One language a sequence, spread over all; the first sequence goes through many."""
    rows = np.arange(len(ROWS)) * max(1, languages // len(ROWS)) % languages
    result = np.repeat(rows[:, None], sequence, axis=1)
    result[0] = np.arange(sequence) * languages // sequence
    return result.astype(np.int64)


def _labels(
    config: XLMConfig,
    architecture: str,
    mask: Array,
    words: Array,
    generator: np.random.Generator,
) -> dict[str, Array]:
    """Labels of every kind that the head computes a loss for."""
    batch, sequence = mask.shape
    classes = config.num_labels
    if architecture in ("XLMWithLMHeadModel", "XLMForTokenClassification", ENCODER_DECODER):
        named = np.arange(classes) if architecture == "XLMForTokenClassification" else words
        # Every other token counts, and so does the first of each row.
        counted = (mask == 1) & (np.cumsum(mask, axis=1) % 2 == 1)
        labels = np.where(counted, generator.choice(named, size=mask.shape), IGNORED)
        return {"labels": labels.astype(np.int64)}
    if architecture == "XLMForMultipleChoice":
        return {"labels": generator.integers(CHOICES, size=batch // CHOICES)}
    if architecture == "XLMForSequenceClassification":
        if config.summary_width != classes:
            return {}  # the summary is no score of labels: the class has no loss
        problem = problem_type_of(config, "integer")
        if problem == "single_label_classification":
            return {"labels": generator.integers(classes, size=batch)}
        shape = (batch,) if problem == "regression" and classes == 1 else (batch, classes)
        # Multiples of 1/8 are the same number in every dtype.
        targets = generator.integers(-16, 17, size=shape) / 8
        return {"labels": targets if problem == "regression" else (targets > 0).astype(float)}
    if architecture.startswith("XLMForQuestionAnswering"):
        first, last = mask.argmax(axis=1), sequence - 1 - mask[:, ::-1].argmax(axis=1)
        labelled: dict[str, Array] = {"start_positions": first, "end_positions": last}
        if architecture == "XLMForQuestionAnswering":
            labelled["cls_index"] = first
            labelled["is_impossible"] = np.arange(batch) % 2
        return {name: array.astype(np.int64) for name, array in labelled.items()}
    return {}
