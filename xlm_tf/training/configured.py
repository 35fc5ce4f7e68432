"""A run as a configuration says."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from xlm_core.errors import ConfigError
from xlm_core.objectives import TrainingBatches
from xlm_core.training.config import TrainingConfig
from xlm_core.training.memory import keep_freed_memory
from xlm_tf.training.optimizing import learning_rate_of, optimizer_of
from xlm_tf.training.run import TrainingRun


@contextmanager
def making_models(config: TrainingConfig) -> Iterator[None]:
    """Make the model of a run in this block, before anything else of TensorFlow.

    The devices that share it are those of all workers that TF_CONFIG names, or else all GPUs of
    this machine. What is drawn for the model comes of the run's seed. On CPUs, operations are
    deterministic from then on; on GPUs, `tf.config.experimental.enable_op_determinism` is the
    caller's choice, because it costs time.

    Raises:
        ConfigError: If TF_CONFIG is no JSON, or for `parallel = "fsdp"`.
    """
    if config.parallel == "fsdp":
        raise ConfigError(
            'parallel is "fsdp", which PyTorch alone has: with tf.distribute every device has a '
            'copy of the model ("ddp").'
        )
    strategy = _strategy(os.environ.get("TF_CONFIG", ""))
    keras.utils.set_random_seed(config.seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        yield


@functools.cache
def _strategy(cluster: str) -> tf.distribute.Strategy:
    """The strategy for what TF_CONFIG says; a process has one."""
    if workers_in(cluster) > 1:
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, TypeError, RuntimeError) as error:  # no task, a wrong one, too late
            raise ConfigError(f"TF_CONFIG is {cluster!r:.200}: {error}") from error
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def workers_in(cluster: str) -> int:
    """How many processes train together: a chief, if there is one, is one of them.

    Args:
        cluster: TF_CONFIG; empty: there is none.

    Raises:
        ConfigError: If it is no JSON of a cluster, or has processes that do not train.
    """
    try:
        jobs = json.loads(cluster or "{}").get("cluster", {})
        number = len(jobs.get("chief", ())) + len(jobs.get("worker", ()))
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"TF_CONFIG is {cluster!r:.80}: expected JSON of a cluster.") from error
    if others := jobs.keys() - {"chief", "worker"}:
        raise ConfigError(
            f"TF_CONFIG names {', '.join(sorted(others))}: expected a chief and workers alone, "
            "which share every batch."
        )
    return number


def model_dtype(config: TrainingConfig) -> str:
    """The dtype policy of a run's model: half precision leaves weights in float32."""
    return {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}.get(
        config.precision, config.precision
    )


def configured_run(
    config: TrainingConfig, model: Any, batches: TrainingBatches, *, resumed: Path | None = None
) -> TrainingRun:
    """A run that trains a model as a configuration says.

    If it starts from a training checkpoint of the original, it takes Adam's moments too; its
    `notes` say so.

    Args:
        config: Its optimizer.
        model: A language model or an encoder-decoder, made within `making_models`, with weights
            of `model_dtype`.
        batches: What to train on.
        resumed: The checkpoint of this run that it will go on from. It holds Adam's moments, and
            what the run started from is not opened again.

    Raises:
        ConfigError: If these do not go together.
    """
    keep_freed_memory()
    settings = config.optimizer
    run = TrainingRun(
        model,
        batches,
        optimizer_of(settings, model),
        learning_rate=learning_rate_of(settings),
        clip_grad_norm=settings.clip_grad_norm,
        accumulate=settings.accumulate,
        mean_of_ranks=settings.mean_of_ranks,
        workers=config.readers,
    )
    start = config.start
    if start.model is not None and resumed is None:
        note = run.take_original_adam(start.model, match=start.match)
        run.notes += (note,) if note else ()
    return run
