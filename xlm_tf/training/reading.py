"""Batches as tensors, and as datasets of tf.data."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, InputError
from xlm_core.objectives import Batch, Task, TrainingBatches
from xlm_core.objectives.agreement import languages_of, needs_of, sizes_of
from xlm_core.objectives.batch import IGNORED, pieces, stand_in

# The arguments of a model, of which a task may lack some: these are empty.
NAMES = ("input_ids", "attention_mask", "langs", "position_ids", "decoder_langs", "labels")
_ABOUT = "about"


def tensors_of(batch: Batch, device: str | None = None) -> dict[str, tf.Tensor]:
    """A batch by the names of a model's arguments: int64 tensors.

    All ranks have to compute, for their gradients are exchanged: of a batch of no rows, this is one
    row of one word and a label, whose loss is to count nothing.

    Args:
        batch: Of `xlm_core.objectives`.
        device: Where to put them.
    """
    given = batch if len(batch) else stand_in(batch)
    with tf.device(device):
        return {name: tf.constant(x) for name, x in given.arguments().items()}


@dataclass(frozen=True)
class Pass:
    """One forward pass on every device of this process: all of them compute the same task.

    Attributes:
        task: Its place among the tasks.
        tensors: For each device, by the names of the model's arguments.
        labels: Labels of each device.
        of_all: Labels of all devices of all processes.
        tokens: Tokens of all of them.
        parts: Of a global batch.
        labelled: How many devices, of all processes, have labels.
        update: That it is of, counted from 0.
    """

    task: int
    tensors: list[dict[str, tf.Tensor]]
    labels: list[int]
    of_all: int
    tokens: int
    parts: int
    labelled: int
    update: int


def dataset_of(
    batches: TrainingBatches,
    first: int = 0,
    *,
    accumulate: int = 1,
    strategy: tf.distribute.Strategy | None = None,
) -> Any:
    """The batches of a run as a dataset without end, for `TFWithObjectives.fit`.

    An element holds what one device computes for one update: a forward pass for each part of
    each accumulated global batch. A thread of tf.data makes them ahead.

    Args:
        batches: Of the run.
        first: The update to begin with.
        accumulate: Global batches that make one update.
        strategy: Whose devices share each part; default: one device.

    Returns:
        A `tf.data.Dataset`, or for several devices a distributed one.

    Raises:
        ConfigError: If `accumulate` or `first` cannot be.
    """
    for name, value, least in (("accumulate", accumulate, 1), ("first", first, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ConfigError(f"{name} is {value!r}: expected a whole number from {least}.")
    if strategy is None or not is_distributed(strategy):
        return _dataset(batches, first, accumulate, range(1), 1)
    ranks = strategy.num_replicas_in_sync

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = ranks // context.num_input_pipelines
        begin = own * context.input_pipeline_id
        return _dataset(batches, first, accumulate, range(begin, begin + own), ranks)

    return strategy.distribute_datasets_from_function(of_worker)


def is_distributed(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy has devices that share batches, or one that is treated alike."""
    with strategy.scope():
        return bool(tf.distribute.has_strategy())


def _dataset(
    batches: TrainingBatches, first: int, accumulate: int, own: range, ranks: int
) -> tf.data.Dataset:
    """What the ranks `own` compute, in turn."""
    passes = accumulate * batches.settings.parts
    tensors = {name: tf.TensorSpec((None, None), tf.int64) for name in NAMES}
    signature = ({**tensors, _ABOUT: tf.TensorSpec((11,), tf.int64)},) * passes

    def read() -> Iterator[Any]:
        update = first
        while True:
            steps = range(update * accumulate, (update + 1) * accumulate)
            whole = [part for step in steps for part in batches.global_batch(step)]
            for rank in own:
                yield tuple(_element(part, batches, rank, ranks, update) for part in whole)
            update += 1

    dataset = tf.data.Dataset.from_generator(read, output_signature=signature)
    # Else workers would ask each other at every step whether there is more.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return dataset.prefetch(2 * len(own))


def _element(
    part: Batch, batches: TrainingBatches, rank: int, ranks: int, update: int
) -> dict[str, Any]:
    """What one rank computes of a part of a global batch."""
    own = piece_of(part, rank, ranks)
    given = own.arguments()
    absent = np.zeros((0, 0), np.int64)
    about = (
        batches.tasks.index(part.task),
        own.predicted,
        part.predicted,
        part.tokens,
        batches.settings.parts,
        sum(piece_of(part, each, ranks).predicted > 0 for each in range(ranks)),
        update,
        *marks_of(batches.tasks, batches.config),
        *sizes_of(batches.config).values(),
    )
    return {**{name: given.get(name, absent) for name in NAMES}, _ABOUT: np.array(about, np.int64)}


def piece_of(batch: Batch, rank: int, ranks: int) -> Batch:
    """A rank's rows of a batch; in place of none a row without labels: every rank computes."""
    piece = batch.rows(*pieces(len(batch), ranks)[rank])
    if len(piece):
        return piece
    row = batch.rows(0, 1)
    return replace(row, labels=np.full_like(row.labels, IGNORED))


def marks_of(tasks: Sequence[Task], config: XLMConfig) -> tuple[int, int]:
    """Numbers that tell a model and its tasks from others.

    Returns:
        One of the tasks in their order and what a model has to have; one of the numbers of
        languages, 0 where it names none.
    """
    names, languages = ",".join(task.name for task in tasks), languages_of(config, tasks)
    needs, numbers = f"{names} {needs_of(config)}", f"{languages}"
    return zlib.crc32(needs.encode()), zlib.crc32(numbers.encode()) if languages else 0


def check_passes(dataset: Any, strategy: tf.distribute.Strategy) -> None:
    """Check that a dataset is what `dataset_of` makes for this strategy.

    Raises:
        InputError: For any other.
    """
    distributed = is_distributed(strategy)
    spec = getattr(dataset, "element_spec", None)
    is_for_it = isinstance(dataset, tf.distribute.DistributedDataset) == distributed
    if distributed:  # by others of as many devices too
        is_for_it = is_for_it and getattr(dataset, "_strategy", strategy) is strategy
    if not is_for_it or not (
        isinstance(spec, tuple)
        and all(isinstance(each, dict) and each.keys() == {*NAMES, _ABOUT} for each in spec)
    ):
        expected = (
            "dataset_of(batches, strategy=strategy) makes, with the strategy in whose scope the "
            "model was made"
            if distributed
            else "dataset_of(batches) makes"
        )
        raise InputError(f"fit got a {type(dataset).__name__}: expected what {expected}.")


def passes_of(
    element: Any, strategy: tf.distribute.Strategy, tasks: Sequence[Task], config: XLMConfig
) -> list[Pass]:
    """An element of `dataset_of` as the passes that it holds.

    Args:
        element: For the devices of `strategy`.
        strategy: What trains.
        tasks: Of the model.
        config: Its configuration.

    Raises:
        ConfigError: If it is of other tasks, or made for another model.
    """
    found, most = [], sizes_of(config)
    mark, languages = marks_of(tasks, config)
    for each in element:
        local = {name: strategy.experimental_local_results(x) for name, x in each.items()}
        about = np.stack([np.asarray(x) for x in local.pop(_ABOUT)])
        task, _, of_all, tokens, parts, labelled, update, *facts = map(int, about[0])
        of_task, of_languages, *sizes = facts
        if (
            of_task != mark
            or (languages and of_languages != languages)
            or any(size > of for size, of in zip(sizes, most.values(), strict=True))
        ):
            raise ConfigError(
                "the dataset is of other tasks than the model's, or of the same in another order, "
                "or its batches were made for another config (special ids, languages, sizes): give "
                "TFWithObjectives and TrainingBatches the same."
            )
        devices = range(len(about))
        tensors = [
            {name: x[at] for name, x in local.items() if x[at].shape[1] > 0} for at in devices
        ]
        labels = about[:, 1].tolist()
        found.append(Pass(task, tensors, labels, of_all, tokens, parts, labelled, update))
    return found
