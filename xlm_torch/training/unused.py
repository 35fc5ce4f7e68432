"""Whether the losses of some tasks leave parameters of a model unused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlm_core.objectives import Batch, Task
from xlm_torch.training.losses import WithObjectives
from xlm_torch.training.reading import tensors_of


def leaves_unused(whole: WithObjectives, tasks: Iterable[Task]) -> bool:
    """Whether the loss of some task does not depend on every parameter that is trained.

    What several processes exchange their gradients with (DistributedDataParallel) has to look for
    such parameters in each step, which costs time, and it warns where there are none.

    The loss of one word of each objective is looked at, not computed backwards: what a loss depends
    on is the same for all words, also with an adaptive softmax.

    Args:
        whole: Of the model.
        tasks: That it is trained on.
    """
    trained = {parameter for parameter in whole.parameters() if parameter.requires_grad}
    trains = whole.training
    whole.eval()  # neither dropout, which draws random numbers, nor recomputation
    try:
        for task in {task.objective: task for task in tasks}.values():
            batch = _one_word(task, whole.model.config)
            device = next(whole.parameters()).device
            loss = whole(task.objective, tensors_of(batch, device))
            if not trained <= _used(loss):
                return True
    finally:
        whole.train(trains)
    return False


def _one_word(task: Task, config: Any) -> Batch:
    """A batch of a row of one word, whose label it is."""
    word, first = np.full((1, 1), config.eos_index), np.zeros((1, 1), np.int64)
    languages = first if config.n_langs > 1 else None
    return Batch(
        task,
        input_ids=word,
        lengths=np.ones(1, np.int64),
        labels=word,
        langs=languages,
        position_ids=None if task.objective == "mt" else first,
        decoder_langs=languages if task.objective == "mt" else None,
    )


def _used(loss: Tensor) -> set[Tensor]:
    """The leaves that a loss was computed from."""
    seen: set[Any] = set()
    found: set[Tensor] = set()
    waiting: list[Any] = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), torch.Tensor):
            found.add(leaf)
        waiting += [following for following, _ in node.next_functions]
    return found
