"""A training run: updates of the weights, on one device or many, saved and resumed exactly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from xlm_core.objectives import Batch, TrainingBatches
from xlm_core.objectives.agreement import check_made_for
from xlm_core.objectives.randomness import generator_of
from xlm_core.training.engine import (
    Update,
    check_accumulate,
    check_learning_rate,
    warn_of_other_ranks,
)
from xlm_core.training.figures import Tally
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_core.training.main_rank import write_on_main
from xlm_core.training.moments import moments_to_take, text_of_taken
from xlm_core.training.saved import state_of
from xlm_core.weights import Kind, name_of
from xlm_tf.optimizers import OriginalAdam
from xlm_tf.training.losses import TFWithObjectives
from xlm_tf.training.lost import lost_process
from xlm_tf.training.optimizing import Schedule
from xlm_tf.training.reading import dataset_of
from xlm_tf.training.states import read_into, seed_generators, write_run
from xlm_tf.training.updates import number_in, scored


class TrainingRun:
    """Trains a model on global batches.

    The loss of an update is the sum over the labels of all ranks and all accumulated steps,
    divided by their number. The engine is tf.distribute: its strategy, in whose scope model and
    optimizer are made, decides on the devices; each device is a rank. With several workers
    (`tf.distribute.MultiWorkerMirroredStrategy`) every process makes the same calls. Dropout is
    drawn from the seed of `batches`.

    Args:
        model: A language model or an encoder-decoder; its dtype policy is the precision.
        batches: What to train on.
        optimizer: Keras' or ours.
        learning_rate: Of each update; None: the optimizer's own.
        strategy: Default: the model's.
        clip_grad_norm: Largest norm of all gradients together; 0: any.
        accumulate: Steps of `batches` that make one update.
        mean_of_ranks: Take the mean of the parts' mean losses, whatever numbers of labels they
            have, as the original does, where each GPU has one. With a number of parts that does
            not divide among the ranks, the mean over what each rank has of each part.
        workers: Accepted as in PyTorch, where it is the number of reading processes: here a thread
            of tf.data reads ahead.

    Attributes:
        update: Number of updates made.
        tokens: Read so far, by all ranks.
        updates_before: Those of a run of the original that this one goes on from: the learning
            rate counts them.
        notes: What is to be said of how the run begins.

    Raises:
        ConfigError: If model, tasks, strategy and precision do not go together.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: TrainingBatches,
        optimizer: Any,
        *,
        learning_rate: InverseSquareRoot | None = None,
        strategy: tf.distribute.Strategy | None = None,
        clip_grad_norm: float = 0.0,
        accumulate: int = 1,
        mean_of_ranks: bool = False,
        workers: int = 0,
    ) -> None:
        check_accumulate(accumulate)
        check_learning_rate(learning_rate)
        self.model, self.batches = model, batches
        self.learning_rate, self.clip_grad_norm = learning_rate, clip_grad_norm
        self.accumulate, self.mean_of_ranks, self.workers = accumulate, mean_of_ranks, workers
        self.strategy = strategy or model.distribute_strategy
        if learning_rate is not None:
            optimizer.learning_rate = Schedule(learning_rate)
        with self.strategy.scope():
            self.whole = TFWithObjectives(model, batches.tasks)
            check_made_for(batches.config, model.config, batches.tasks)
            self.whole.compile(
                optimizer, clip_grad_norm=clip_grad_norm, mean_of_ranks=mean_of_ranks
            )
        self.optimizer = self.whole.optimizer
        self.update = self.tokens = self.updates_before = 0
        self.notes: tuple[str, ...] = ()
        self._reader: Iterator[Any] | None = None
        draw = generator_of(batches.seed, "dropout", 0)
        for each in seed_generators(self.whole):
            each.state.assign([int(draw.integers(2**31)), 0])

    # -- updates -------------------------------------------------------------------------------

    @property
    def ranks(self) -> int:
        """Number of devices that share a global batch."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.whole.updates.rank == 0

    def of_all_ranks(self, value: float) -> list[float]:
        """The value of every process, in order; all of them ask."""
        updates = self.whole.updates
        own = [value if at == updates.rank else 0.0 for at in range(updates.workers)]
        return updates.over_workers(own)

    def lost_process(self, error: BaseException) -> str | None:
        """What an error says of another process that ended; None: it is about something else."""
        return lost_process(error, processes=self.whole.updates.workers)

    def updates(self, until: int | None = None) -> Iterator[Update]:
        """Make one update for each item taken, until there are `until` in all.

        Raises:
            TrainingError: If a loss or the norm of the gradients is NaN or infinite; the weights
                are those of before.
        """
        while until is None or self.update < until:
            yield self._next()

    def go_to(self, update: int) -> None:
        """Make update `update` next; weights stay."""
        self.update, self._reader = update, None

    def _next(self) -> Update:
        if self._reader is None:
            self.whole.updates.check_variables()
            dataset = dataset_of(
                self.batches, self.update, accumulate=self.accumulate, strategy=self.strategy
            )
            self._reader = iter(dataset)
        rate = self._learning_rate()
        # Kept once the update is made: after an error it would be ahead of the updates.
        reader, self._reader = self._reader, None
        number, tokens = self.update, self.whole.updates.tokens
        self.whole.updates.last = -1
        try:
            made = self.whole.updates.make(next(reader))
        finally:  # an update that was interrupted when it was made already counts
            if self.whole.updates.last == number:
                self.update += 1
                self.tokens += self.whole.updates.tokens - tokens
        done = Update(
            number,
            {name: loss / labels for name, (loss, labels) in made.sums.items()},
            sum(labels for _, labels in made.sums.values()),
            made.tokens,
            rate,
            made.gradient_norm if self.clip_grad_norm else None,
        )
        self._reader = reader
        return done

    def _learning_rate(self) -> float:
        if self.learning_rate is not None:
            # Where float16 left updates out, there were fewer: the rate is that of the schedule.
            return self.learning_rate.at(int(number_in(self.optimizer.iterations)))
        # Keras rounds a number to float32; `OriginalAdam` computes with the one that was given.
        rate = number_in(self.optimizer.learning_rate)
        given = getattr(self.whole.updates.inner_optimizer, "_given_rate", None)
        return given if given is not None and float(np.float32(given)) == rate else rate

    def evaluate(self, batches: Iterable[Batch]) -> Tally:
        """Sums over batches without dropout: the rows of each are shared by all ranks."""
        loss, predicted, correct = 0.0, 0, 0
        for batch in batches:
            found = scored(self.whole, batch)
            loss, predicted, correct = loss + found[0], predicted + found[1], correct + found[2]
        total = self.whole.updates.over_workers([loss, predicted, correct])
        return Tally(total[0], int(total[1]), int(total[2]))

    # -- checkpoints ---------------------------------------------------------------------------

    def save_model(self, folder: str | os.PathLike[str]) -> None:
        """Write the model alone, as `save_pretrained` does: every process has to call it."""
        write_on_main(self, lambda: self.model.save_pretrained(folder))

    def save(
        self,
        folder: str | os.PathLike[str],
        state: Mapping[str, Any] | None = None,
        *,
        add_to_model: Callable[[Path], object] | None = None,
    ) -> None:
        """Write a folder from which the run goes on exactly: whole, or not at all.

        It holds the model as `save_pretrained` writes it, under `model`, the optimizer's state and
        that of random numbers. Every process has to call it.

        Args:
            folder: Replaced if it exists.
            state: What the caller wants back, as JSON holds it.
            add_to_model: Writes into the model's folder what belongs beside it, on the main rank.

        Raises:
            CheckpointError: On every process, if it cannot be written.
        """
        described = {
            **self._state(),
            "update": self.update,
            "tokens": self.tokens,
            "updates_before": self.updates_before,
            "ranks": self.ranks,
            "caller": dict(state or {}),
        }
        write_on_main(
            self, lambda: write_run(folder, self.whole, described, add_to_model=add_to_model)
        )

    def resume(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from a folder that `save` wrote, with any number of ranks.

        Returns:
            The caller's state.

        Raises:
            CheckpointError: If it is damaged, or of another run; the run is as it was.
        """
        state = read_into(folder, self.whole, self._state())
        self.update, self.tokens = state["update"], state["tokens"]
        self.updates_before, self._reader = state["updates_before"], None
        self.whole.updates.updates_before = self.updates_before
        warn_of_other_ranks(state.get("ranks", self.ranks), self.ranks)
        return dict(state.get("caller") or {})

    def take_original_adam(self, path: str | os.PathLike[str], *, match: str = "all") -> str:
        """Go on with the moments of a training checkpoint of the original, and its learning rate.

        Weights are not looked at: the model was started from the same checkpoint. What Adam does
        not know there starts afresh: parameters that were never updated, other sizes.

        Args:
            path: Of any checkpoint.
            match: How the model was started from it. With "words", the rows of words and of
                languages were copied by name, and what Adam knows of them starts afresh.

        Returns:
            What was taken, in words; "" of a checkpoint that is none of the original's. Of one
            that has none, this is a warning too.

        Raises:
            CheckpointError: If it is damaged.
        """
        updates = self.whole.updates
        inner = updates.inner_optimizer
        moments, why = moments_to_take(
            path, match=match, is_original_adam=isinstance(inner, OriginalAdam)
        )
        if moments is None:
            return why
        taken = 0
        for spec in self.model._owned_specs():
            variable = self.model.variable_of(spec)
            if not any(variable is each for each in updates.variables):
                continue
            name = name_of(spec, "torch", self.model.architecture) or ""
            first, second = moments.first.get(name), moments.second.get(name)
            if not moments.steps.get(name) or first is None or second is None:
                continue
            if first.shape == spec.shape:
                inner.take(
                    variable,
                    moments.steps[name],
                    *(
                        x.read().T if spec.kind is Kind.MATRIX else x.read()
                        for x in (first, second)
                    ),
                )
                taken += 1
        self.updates_before = updates.updates_before = moments.updates or 0
        inner.iterations.assign(self.updates_before)
        behind = self.updates_before if self.learning_rate is not None else 0
        return text_of_taken(path, taken, len(updates.variables), updates_before=behind)

    def _state(self) -> dict[str, Any]:
        return state_of(
            self.batches,
            accumulate=self.accumulate,
            mean_of_ranks=self.mean_of_ranks,
            clip_grad_norm=self.clip_grad_norm,
            hyperparameters=self.whole.updates.hyperparameters,
            learning_rate=self.learning_rate,
        )
