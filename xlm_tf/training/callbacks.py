"""Callbacks for `TFWithObjectives.fit`: evaluation, and checkpoints to go on from exactly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError, ConfigError, nearest
from xlm_core.objectives import Batch, Task, TrainingBatches
from xlm_core.training.evaluating import check_finite, tally_of
from xlm_core.training.figures import Tally, figures_of
from xlm_core.training.saved import check_target, read_run, state_of
from xlm_core.whole_files import put_back
from xlm_tf.training.counters import count_on, counted, counting
from xlm_tf.training.states import read_into, write_run
from xlm_tf.training.updates import check_update


class EvaluationCallback(keras.callbacks.Callback):
    """Evaluates after each epoch, and adds the figures to its logs, by the original's names.

    Callbacks behind it see them: `keras.callbacks.EarlyStopping("valid_mlm_ppl", mode="min")`
    stops on one, `ModelCheckpoint(..., monitor="valid_mlm_ppl", mode="min")` keeps the best.

    Args:
        split: "valid" or "test".
        batches: For each task what makes its batches anew, for example
            `lambda: evaluation.batches(task, corpora=corpora)` of an `EvaluationBatches`.
        every: Epochs from one evaluation to the next. After the others there are no figures:
            `ModelCheckpoint(save_best_only=True)` on one of them is refused then, because it
            writes its file whenever there is none, and `CSVLogger` has the first epoch's columns.
        words_in: How many labels of a batch end a word, such as `TrainingData.words_in`: for the
            perplexity per word of causal models, which is left out without it.

    Raises:
        ConfigError: If `every` is not positive.
    """

    def __init__(
        self,
        split: str,
        batches: Mapping[Task, Callable[[], Iterable[Batch]]],
        *,
        every: int = 1,
        words_in: Callable[[Batch], int] | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ConfigError(f"every is {every}: expected a positive whole number.")
        self.split, self.batches, self.every = split, dict(batches), every
        self.words_in = words_in

    def stand_beside(self, callbacks: Sequence[Any]) -> None:
        """Find before `fit` begins what would go wrong behind its first epoch.

        Raises:
            ConfigError: If a callback monitors what no evaluation computes, or would take a model
                without figures for the best.
            ConfigError, CorpusError: If a text cannot be evaluated.
        """
        for make in self.batches.values():
            make()  # texts are checked when batches are asked for, which are made when taken
        known: set[str] = set()
        always: set[str] = set()  # after each epoch
        for each in (self, *callbacks):
            if isinstance(each, EvaluationCallback) and each.split == self.split:
                words = None if each.words_in is None else 0
                names = {*figures_of(self.split, {x: Tally(words=words) for x in each.batches})}
                known |= names
                always |= names if each.every == 1 else set()
        # Somebody's own callback may add figures of its own.
        own = any(
            isinstance(each, keras.callbacks.LambdaCallback)
            or type(each).__module__.partition(".")[0] not in ("keras", "xlm_tf")
            for each in callbacks
        )
        for each in callbacks if known and not own else ():
            monitor = str(getattr(each, "monitor", ""))
            if monitor.startswith(f"{self.split}_") and monitor not in known:
                raise ConfigError(
                    f"{type(each).__name__} monitors {monitor!r}, which no evaluation computes: "
                    f"expected one of {', '.join(sorted(known))}.{nearest(monitor, known)}"
                )
        for each in callbacks if self.every > 1 else ():
            if (
                isinstance(each, keras.callbacks.ModelCheckpoint)
                and each.save_best_only
                and each.monitor.startswith(f"{self.split}_")
                and each.monitor not in always
                and (each.monitor in known or not own)
            ):
                raise ConfigError(
                    f"ModelCheckpoint keeps the best {each.monitor}, and there is one every "
                    f"{self.every} epochs alone: it would replace its file after all others. "
                    "Evaluate after each epoch, and make epochs longer (steps_per_epoch)."
                )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, and add to `logs`."""
        if (epoch + 1) % self.every or logs is None:
            return
        tallies: dict[Task, Tally] = {}
        eos = self.model.model.config.eos_index
        for task, make in self.batches.items():
            tally = tally_of(task, make(), self.model.tally, self.words_in, eos)
            check_finite(self.split, task, tally.loss, self.model.updates.made)
            tallies[task] = tally
        logs.update(figures_of(self.split, tallies))


class CheckpointCallback(keras.callbacks.Callback):
    """Writes what a run goes on from exactly, as `TrainingRun.save` does: whole, or not at all.

        checkpoint = CheckpointCallback("run/checkpoint", batches)
        first = checkpoint.resume(model)  # 0 if there is none yet
        model.fit(
            dataset_of(batches, first), steps_per_epoch=100, epochs=10,
            initial_epoch=first // 100, callbacks=[checkpoint],
        )

    It stands behind Keras' callbacks that count from epoch to epoch (EarlyStopping,
    ReduceLROnPlateau, ModelCheckpoint): they go on too, with the best weights that EarlyStopping
    keeps. What other callbacks remember is theirs to keep.

    Args:
        folder: Of the checkpoint, which each replaces.
        batches: What `fit` is given as a dataset.
        every: Updates from one checkpoint to the next; default: after each epoch. Within an epoch,
            a checkpoint has what callbacks counted before it, and the epochs of a run that goes on
            from there end elsewhere.
        accumulate: As `dataset_of` was given it.

    Raises:
        ConfigError: If `every` is not positive.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        batches: TrainingBatches,
        *,
        every: int | None = None,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        if every is not None and every < 1:
            raise ConfigError(f"every is {every}: expected a positive whole number.")
        self.folder, self.batches, self.every = Path(folder), batches, every
        self.accumulate, self.tokens = accumulate, 0
        self._update = 0
        # What makes an update, while it does.
        self._making: Any = None
        # Whether what the folder holds may be replaced: it was resumed from, or written by this.
        self._is_own = False
        self._others: tuple[Any, ...] = ()
        self._is_due = False
        # What callbacks had counted, until `fit` has begun.
        self._counted: Mapping[str, Any] = {}
        self._tensors: Mapping[str, LazyTensor] = {}

    @property
    def update(self) -> int:
        """Number of updates made, with one that was interrupted (Ctrl-C) behind its weights."""
        is_made = self._making is not None and self._making.last == self._update
        return self._update + is_made

    def resume(self, model: Any) -> int:
        """Put a compiled model back to where the checkpoint is, if there is one.

        Returns:
            The number of updates made: give it to `dataset_of` as `first`.

        Raises:
            CheckpointError: If it is damaged, or of another run.
        """
        if self._holds_one():
            state = read_into(self.folder, model, self._state(model))
            self._making, self._update, self.tokens = None, state["update"], state["tokens"]
            model.updates.tokens = self.tokens
            counted_before = state.get("callbacks", {})
            if not isinstance(counted_before, dict):
                raise CheckpointError(f"{self.folder} is damaged: the state of callbacks.")
            self._counted, self._tensors = counted_before, read_run(self.folder).tensors
        self._is_own = True
        return self.update

    def _holds_one(self) -> bool:
        """Whether there is a checkpoint: what has a dot before its name is no part of one.

        Raises:
            CheckpointFileError: If there is something else, which one would replace.
        """
        check_target(self.folder)
        put_back(self.folder)
        return self.folder.is_dir() and any(x.name[0] != "." for x in self.folder.iterdir())

    def stand_beside(self, callbacks: Sequence[Any]) -> None:
        """Learn which callbacks `fit` has, in their order; `TFWithObjectives.fit` says so.

        Raises:
            ConfigError: If one that counts stands behind this one, which would write what it had
                counted an epoch before. If another one puts weights back too. If there is a
                checkpoint, and `resume` was not called, that it would replace.
        """
        if any(isinstance(each, keras.callbacks.BackupAndRestore) for each in callbacks):
            raise ConfigError(
                "BackupAndRestore puts back weights of another update than CheckpointCallback, "
                "which knows their batches: leave it out."
            )
        if self._holds_one() and not self._is_own:
            raise ConfigError(
                f"{self.folder} holds a checkpoint, which this run would replace: go on from it, "
                "first = checkpoint.resume(model), or remove it, or give another folder."
            )
        late = [*counting(callbacks[callbacks.index(self) + 1 :])]
        if late:
            raise ConfigError(
                f"CheckpointCallback stands before {late[0].partition('(')[0]}, whose counters it "
                "writes: put it behind, last in the list of callbacks."
            )
        self._others = tuple(callbacks)

    def on_train_begin(self, logs: Any = None) -> None:
        """Let other callbacks go on with what they had counted: those before were reset by now."""
        self._is_own = True
        if self._counted:
            count_on(self._others, self._counted, self._tensors, self.folder)
            self._counted, self._tensors = {}, {}

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Have the batches of another update refused before they change weights."""
        parts = self.batches.settings.parts * self.accumulate
        self._update, self._making = self.update, self.model.updates
        self._making.last, self._making.expected = -1, (self._update, parts)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count, and write if it is time.

        Raises:
            ConfigError: If the dataset gave the batches of another update: a checkpoint would say
                that batches were read which were not.
        """
        check_update(self.model.updates.last, self._update)
        self._update += 1
        self._is_due = self.every is not None and self.update % self.every == 0
        is_last = batch + 1 == (self.params or {}).get("steps")
        if self._is_due and not is_last:  # else when others have counted the epoch
            self._write()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write if nothing else was asked for, or if it is time."""
        if self.every is None or self._is_due:
            self._write()

    def _write(self) -> None:
        self._is_due = False
        numbers, tensors = counted(self._others)
        state = {
            **self._state(self.model),
            "update": self.update,
            "tokens": self.model.updates.tokens,
            "updates_before": 0,
            "callbacks": numbers,
        }
        write_run(self.folder, self.model, state, tensors)

    def _state(self, model: Any) -> dict[str, Any]:
        return state_of(
            self.batches,
            accumulate=self.accumulate,
            mean_of_ranks=model.updates.mean_of_ranks,
            clip_grad_norm=model.updates.clip_grad_norm,
            hyperparameters=model.updates.hyperparameters,
        )
