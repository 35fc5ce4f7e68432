"""Collating examples for tf.data or for Keras' `fit`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import tensorflow as tf

from xlm_core.errors import InputError
from xlm_core.objectives import Collator
from xlm_core.objectives.collating import Arrays
from xlm_core.objectives.randomness import generator_of


class ObjectiveCollator(Collator):
    """A `Collator` of tensors.

    Without a seed, Python's random numbers decide, which `keras.utils.set_random_seed` sets.

    Args:
        config, objective, languages, settings, counts, seed, pad_to_multiple_of: As in
            `xlm_core.objectives.Collator`.
    """

    def __call__(self, examples: Iterable[Any]) -> dict[str, tf.Tensor]:
        """Collate examples: what `arrays` gives, as int64 tensors."""
        return {name: tf.constant(array) for name, array in self.arrays(examples).items()}

    @property
    def output_signature(self) -> dict[str, tf.TensorSpec]:
        """What a batch looks like, for `tf.data.Dataset.from_generator`."""
        names = ["input_ids", "attention_mask"]
        if self.objective == "tlm":
            names.append("position_ids")
        if self.objective == "mt":
            names.append("decoder_input_ids")
        if self.config.n_langs > 1:
            names += ["langs", "decoder_langs"] if self.objective == "mt" else ["langs"]
        return {name: tf.TensorSpec((None, None), tf.int64, name) for name in (*names, "labels")}


def collated_dataset(
    examples: Sequence[Any],
    collator: ObjectiveCollator,
    *,
    batch_size: int = 32,
    shuffle: bool = True,
    epochs: int | None = None,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Examples collated to batches: what `fit` takes.

    With a seed of the collator, order and masks depend on it, the epoch and the examples alone.
    (A `keras.utils.PyDataset` would take the lengths of its first batches for those of all.)

    Args:
        examples: As the collator takes them; each gets its place as `index`, unless it has one.
        collator: Of the objective.
        batch_size: Examples of a batch; the last of an epoch may have fewer.
        shuffle: Whether each epoch has another order.
        epochs: How many to give; None: without end, for `fit(steps_per_epoch=)`.
        first_epoch: Number of the first, to go on with.

    Raises:
        InputError: If there are no examples, or batch_size is not positive.
    """
    if isinstance(examples, Mapping):
        raise InputError(
            f"collated_dataset got one mapping of {', '.join(map(str, examples))}: expected a list "
            "of examples, each with the ids of one text."
        )
    count = len(examples)
    if not count:
        raise InputError("there are no examples: expected at least one.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: expected a positive whole number.")

    def example(at: int) -> Mapping[str, Any]:
        given = examples[at]
        return {"index": at, **(given if isinstance(given, Mapping) else {"input_ids": given})}

    def batches() -> Iterator[Arrays]:
        mine = copy(collator)
        for epoch in itertools.count(first_epoch):
            if epochs is not None and epoch == first_epoch + epochs:
                return
            mine.set_epoch(epoch)
            order = np.arange(count)
            if shuffle:
                seed = mine.draw_seed() if mine.seed is None else mine.seed
                order = generator_of(seed, "examples", epoch).permutation(count)
            for begin in range(0, count, batch_size):
                yield mine.arrays(
                    [example(at) for at in order[begin : begin + batch_size].tolist()]
                )

    dataset = tf.data.Dataset.from_generator(batches, output_signature=collator.output_signature)
    size = tf.data.INFINITE_CARDINALITY if epochs is None else epochs * -(-count // batch_size)
    sized = dataset.apply(tf.data.experimental.assert_cardinality(size))
    result: tf.data.Dataset = sized.prefetch(tf.data.AUTOTUNE)
    return result
