"""A step of masked language modelling in TensorFlow, from the text on: ours, and TFXLM's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.speed.protocol import Prepared
from benchmarks.speed.tasks import BETAS, CLIP, DECAY, EPSILON, LEARNING_RATE, Task
from benchmarks.speed.texts import (
    LANGUAGE,
    config_of,
    rows_of,
    sentences_of,
    stream_of,
    vocabulary_of,
)

NAMES = ("input_ids", "attention_mask", "labels")
ADAM = {
    "weight_decay": DECAY,
    "beta_1": BETAS[0],
    "beta_2": BETAS[1],
    "epsilon": EPSILON,
}


def prepared(
    task: Task, model: Any, keras: Any, loss_of: Callable[..., Any], *, ours: bool
) -> Prepared:
    """A step with its batch.

    Args:
        task: Of the kind "pretrain".
        model: Ours, or TFXLM's.
        keras: Keras 3 for ours, Keras 2 for TFXLM.
        loss_of: The model's loss, (model, training) to a function of its arguments and labels.
        ours: Which.
    """
    # It lives as long as what is prepared.
    folder = tempfile.TemporaryDirectory()
    if not ours:
        return Prepared(their_step(task, model, keras, loss_of(model, training=True), folder))
    from xlm_core.training.memory import keep_freed_memory
    from xlm_tf import OriginalAdam
    from xlm_tf.training import ObjectiveCollator, TrainingRun

    keep_freed_memory()  # as `xlm pretrain` does

    if task.filled < 1:
        collate = ObjectiveCollator(config_of(task), "mlm", LANGUAGE)
        model.output_logits = False
        model.compile(optimizer=OriginalAdam(LEARNING_RATE, global_clipnorm=CLIP, **ADAM))
        batches = iter(dataset_of(task, collate.arrays))
        return Prepared(timed(batches, lambda x: model.train_on_batch(x), folder))
    stream = stream_of(task, Path(folder.name))
    run = TrainingRun(model, stream, OriginalAdam(LEARNING_RATE, **ADAM), clip_grad_norm=CLIP)
    read, updates = stream.iterate(), run.updates()

    def step() -> dict[str, Any]:
        _ = folder
        start = time.perf_counter()
        for batch in next(read):  # once more, beside the step, which has its own
            {name: tf.constant(x) for name, x in batch.arguments().items()}
        made = time.perf_counter()
        next(updates)
        end = time.perf_counter()
        return {"seconds": end - made, "figures": {"input": made - start}}

    return Prepared(step)


def their_step(
    task: Task,
    model: Any,
    keras: Any,
    of_loss: Callable[..., tf.Tensor],
    folder: tempfile.TemporaryDirectory[str],
) -> Callable[[], dict[str, Any]]:
    """TFXLM's as one tf.function, over tf.data with transformers' own collator."""
    from transformers import DataCollatorForLanguageModeling, XLMTokenizer

    tokenizer = XLMTokenizer.from_pretrained(vocabulary_of(task.shape, Path(folder.name)))
    collate = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=task.labelled, return_tensors="np"
    )
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, global_clipnorm=CLIP, **ADAM)

    @tf.function
    def update(x: dict[str, tf.Tensor]) -> tf.Tensor:
        given = {name: x[name] for name in NAMES[:2]}
        with tf.GradientTape() as tape:
            loss = of_loss(given, x["labels"])
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    batches = iter(dataset_of(task, collate))
    first = next(batches)
    model(**{name: first[name] for name in NAMES[:2]})  # makes the variables
    optimizer.build(model.trainable_variables)
    return timed(batches, lambda x: update(x).numpy(), folder)


def dataset_of(task: Task, collate: Callable[..., Any]) -> tf.data.Dataset:
    """Collated batches without end, one read ahead."""
    examples = sentences_of(task) if task.filled < 1 else rows_of(task)
    batches = [examples[i : i + task.batch] for i in range(0, len(examples), task.batch)]

    def collated() -> Iterator[dict[str, np.ndarray]]:
        while True:
            for batch in batches:
                made = collate(batch)
                shape = np.shape(made["input_ids"])
                made = {"attention_mask": np.ones(shape), **made}
                yield {name: np.asarray(made[name], np.int32) for name in NAMES}

    kind = dict.fromkeys(NAMES, tf.TensorSpec((None, None), tf.int32))
    return tf.data.Dataset.from_generator(collated, output_signature=kind).prefetch(1)


def timed(
    batches: Iterator[Any],
    update: Callable[[Any], Any],
    folder: tempfile.TemporaryDirectory[str],
) -> Callable[[], dict[str, Any]]:
    """A step, and how long it waits for its batch."""

    def step() -> dict[str, Any]:
        _ = folder
        start = time.perf_counter()
        batch = next(batches)
        made = time.perf_counter()
        update(batch)
        end = time.perf_counter()
        return {"seconds": end - start, "figures": {"input": made - start}}

    return step
