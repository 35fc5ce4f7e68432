"""A training run: updates of the weights, on one device or many, saved and resumed exactly."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from xlm_core.errors import CheckpointError, ConfigError
from xlm_core.objectives import Batch, TrainingBatches
from xlm_core.training.engine import Update
from xlm_core.training.figures import Tally
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_tf.training.losses import TFWithObjectives
from xlm_tf.training.optimizing import Schedule
from xlm_tf.training.reading import dataset_of
from xlm_tf.training.states import read_state, state_of, write_state
from xlm_tf.training.updates import scored


class TrainingRun:
    """Trains a model on global batches.

    The loss of an update is the sum over the labels of all ranks and all accumulated steps,
    divided by their number. The engine is tf.distribute: its strategy, in whose scope model and
    optimizer are made, decides on the devices; each device is a rank. With several workers
    (`tf.distribute.MultiWorkerMirroredStrategy`) every process makes the same calls.

    Args:
        model: A language model or an encoder-decoder; its dtype policy is the precision.
        batches: What to train on.
        optimizer: Keras' or ours.
        learning_rate: Of each update; None: the optimizer's own.
        strategy: Default: the model's.
        clip_grad_norm: Largest norm of all gradients together; 0: any.
        accumulate: Steps of `batches` that make one update.
        mean_of_ranks: Weigh parts alike, as the original does with its GPUs, whatever number of
            labels they have; where parts are divided among ranks, their pieces.
        workers: Accepted as in PyTorch, where it is the number of reading processes: here a thread
            of tf.data reads ahead.

    Attributes:
        update: Number of updates made.
        tokens: Read so far, by all ranks.

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
        if accumulate < 1:
            raise ConfigError(f"accumulate is {accumulate}: expected a positive whole number.")
        self.model, self.batches = model, batches
        self.learning_rate, self.accumulate, self.workers = learning_rate, accumulate, workers
        self.strategy = strategy or model.distribute_strategy
        if learning_rate is not None:
            optimizer.learning_rate = Schedule(learning_rate)
        with self.strategy.scope():
            self.whole = TFWithObjectives(model, batches.tasks)
            self.whole.compile(
                optimizer, clip_grad_norm=clip_grad_norm, mean_of_ranks=mean_of_ranks
            )
        self.optimizer = self.whole.optimizer
        self.clips = clip_grad_norm > 0
        self.update = self.tokens = 0
        self._reader: Iterator[Any] | None = None

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

    def updates(self, until: int | None = None) -> Iterator[Update]:
        """Make one update for each item taken, until there are `until` in all.

        Raises:
            TrainingError: If a loss or the norm of the gradients is NaN or infinite; the weights
                are those of before.
        """
        while until is None or self.update < until:
            yield self._next()

    def _next(self) -> Update:
        if self._reader is None:
            dataset = dataset_of(
                self.batches, self.update, accumulate=self.accumulate, strategy=self.strategy
            )
            self._reader = iter(dataset)
        rate = self._learning_rate()
        made = self.whole.updates.make(next(self._reader))
        done = Update(
            self.update,
            {name: loss / labels for name, (loss, labels) in made.sums.items()},
            sum(labels for _, labels in made.sums.values()),
            made.tokens,
            rate,
            made.gradient_norm if self.clips else None,
        )
        self.update += 1
        self.tokens += done.tokens
        return done

    def _learning_rate(self) -> float:
        if self.learning_rate is not None:
            return self.learning_rate.at(self.update)
        return float(self.optimizer.learning_rate)

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
        """Write the model alone, as `save_pretrained` does."""
        self._written(lambda: self.model.save_pretrained(folder), folder)

    def save(self, folder: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        """Write a folder from which the run goes on exactly: whole, or not at all.

        It holds the model as `save_pretrained` writes it, under `model`, the optimizer's state and
        that of random numbers. Every process has to call it.

        Args:
            folder: Replaced if it exists.
            state: What the caller wants back, as JSON holds it.

        Raises:
            CheckpointError: On every process, if the main one cannot write.
        """
        self._written(
            lambda: write_state(Path(folder), self.whole, self._state(), state or {}), folder
        )

    def _written(self, write: Any, folder: str | os.PathLike[str]) -> None:
        """Let the main process write, and the others wait for it."""
        failed: OSError | None = None
        if self.is_main:
            try:
                write()
            except OSError as error:
                failed = error
        if any(self.of_all_ranks(float(failed is not None))):
            why = f": {failed}" if failed else ", see the main process"
            raise CheckpointError(f"{os.fspath(folder)} cannot be written{why}.") from failed

    def resume(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from a folder that `save` wrote.

        Returns:
            The caller's state.

        Raises:
            CheckpointError: If it is damaged, or of another run.
        """
        state = read_state(Path(folder), self.whole, self._state())
        self.update, self.tokens, self._reader = state["update"], state["tokens"], None
        return dict(state.get("caller", {}))

    def _state(self) -> dict[str, Any]:
        return state_of(
            self.batches,
            update=self.update,
            tokens=self.tokens,
            accumulate=self.accumulate,
            ranks=self.ranks,
        )
