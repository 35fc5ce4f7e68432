"""A run as a configuration says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from xlm_core.objectives import TrainingBatches
from xlm_core.training.config import TrainingConfig
from xlm_core.training.memory import keep_freed_memory
from xlm_torch.training.optimizing import learning_rate_of, optimizer_of
from xlm_torch.training.run import TrainingRun


@contextmanager
def making_models(config: TrainingConfig) -> Iterator[None]:
    """Make the model of a run in this block: what is drawn for it comes of the run's seed."""
    torch.manual_seed(config.seed)
    yield


def model_dtype(config: TrainingConfig) -> str:
    """The dtype of a run's weights, which half precision leaves in float32."""
    return "float64" if config.precision == "float64" else "float32"


def configured_run(
    config: TrainingConfig, model: Any, batches: TrainingBatches, *, resumed: Path | None = None
) -> TrainingRun:
    """A run that trains a model as a configuration says.

    If it starts from a training checkpoint of the original, it takes Adam's moments too; its
    `notes` say so.

    Args:
        config: Its precision, optimizer, and what several processes share.
        model: A language model or an encoder-decoder, with weights of `model_dtype`.
        batches: What to train on.
        resumed: The checkpoint of this run that it will go on from. It holds Adam's moments, and
            what the run started from is not opened again.

    Raises:
        ConfigError: If these do not go together.
        MissingPackageError: If Accelerate is not installed.
    """
    settings = config.optimizer
    run = TrainingRun(
        model,
        batches,
        optimizer_of(settings, model),
        learning_rate=learning_rate_of(settings),
        precision=config.precision,
        clip_grad_norm=settings.clip_grad_norm,
        accumulate=settings.accumulate,
        mean_of_ranks=settings.mean_of_ranks,
        workers=config.readers,
        parallel=config.parallel,
    )
    if run.accelerator.device.type == "cpu":
        keep_freed_memory()
    start = config.start
    if start.model is not None and resumed is None:
        note = run.take_original_adam(start.model, match=start.match)
        run.notes += (note,) if note else ()
    return run
