"""A step of masked language modelling in PyTorch, from the text on: ours, and transformers'."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

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


def prepared(task: Task, model: torch.nn.Module, library: str, optimizer: str = "") -> Prepared:
    """A step with its batch: of ours the run or collator and optimizer, or transformers' collator.

    Args:
        task: Of the kind "pretrain".
        model: Of `library`.
        library: "xlm_torch" or "transformers".
        optimizer: "adamw" for PyTorch's with our model.
    """
    model.train()
    # It lives as long as what is prepared.
    folder = tempfile.TemporaryDirectory()
    if library != "xlm_torch":
        loader = DataLoader(
            examples_of(task), batch_size=task.batch, collate_fn=their_collator(task, folder.name)
        )
        return Prepared(plain_loop(model, loader, adamw(model), folder))
    from xlm_core.training.memory import keep_freed_memory
    from xlm_torch import OriginalAdam
    from xlm_torch.training import GlobalBatches, ObjectiveCollator, TrainingRun, tensors_of

    keep_freed_memory()  # as `xlm pretrain` does
    values = {"lr": LEARNING_RATE, "betas": BETAS, "eps": EPSILON, "weight_decay": DECAY}
    ours = adamw(model) if optimizer == "adamw" else OriginalAdam(model.parameters(), **values)
    if task.filled < 1:
        collate = ObjectiveCollator(config_of(task), "mlm", LANGUAGE)
        loader = DataLoader(examples_of(task), batch_size=task.batch, collate_fn=collate)
        return Prepared(plain_loop(model, loader, ours, folder, output_logits=False))
    batches = stream_of(task, Path(folder.name))
    run = TrainingRun(model, batches, ours, clip_grad_norm=CLIP)
    read: Iterator[Any] = iter(GlobalBatches(batches))
    updates = run.updates()

    def step() -> dict[str, Any]:
        _ = folder
        start = time.perf_counter()
        for batch in next(read):  # once more, beside the step, which has its own
            tensors_of(batch)
        made = time.perf_counter()
        next(updates)
        end = time.perf_counter()
        return {"seconds": end - made, "figures": {"input": made - start}}

    return Prepared(step)


def examples_of(task: Task) -> list[dict[str, list[int]]]:
    """Sentences in the order of the file, or full rows."""
    return sentences_of(task) if task.filled < 1 else rows_of(task)


def their_collator(task: Task, folder: str) -> Callable[..., Any]:
    """transformers' own, which masks as BERT."""
    from transformers import DataCollatorForLanguageModeling, XLMTokenizer

    tokenizer = XLMTokenizer.from_pretrained(vocabulary_of(task.shape, Path(folder)))
    return DataCollatorForLanguageModeling(tokenizer, mlm_probability=task.labelled)


def adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    """PyTorch's, in its fastest form."""
    values = {"lr": LEARNING_RATE, "betas": BETAS, "eps": EPSILON, "weight_decay": DECAY}
    return torch.optim.AdamW(model.parameters(), **values, fused=True)


def plain_loop(
    model: torch.nn.Module,
    loader: DataLoader[Any],
    optimizer: torch.optim.Optimizer,
    folder: tempfile.TemporaryDirectory[str],
    **options: Any,
) -> Callable[[], dict[str, Any]]:
    """What anybody writes: loss, gradients, clipping, step."""
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def step() -> dict[str, Any]:
        _ = folder
        start = time.perf_counter()
        batch = next(batches)
        made = time.perf_counter()
        model(**batch, **options).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        end = time.perf_counter()
        return {"seconds": end - start, "figures": {"input": made - start}}

    return step
