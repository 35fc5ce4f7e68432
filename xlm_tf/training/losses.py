"""A model with the losses of its tasks: one model to call, whatever the task is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from xlm_core.errors import ConfigError
from xlm_core.objectives import Batch, Task
from xlm_core.objectives.agreement import check_objectives
from xlm_core.training.figures import Tally
from xlm_tf.language_model import TFXLMWithLMHeadModel
from xlm_tf.training.callbacks import CheckpointCallback, EvaluationCallback
from xlm_tf.training.reading import check_passes
from xlm_tf.training.updates import Updates, scored
from xlm_tf.translation import TFXLMForConditionalGeneration

# Arguments of Keras' `compile`, and their values that change nothing here.
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "jit_compile": (False, None, "auto"),
    "steps_per_execution": (1, None),
    "auto_scale_loss": (True,),
    **dict.fromkeys(("loss", "loss_weights", "metrics", "weighted_metrics"), (None,)),
}


@keras.saving.register_keras_serializable(package="xlm_models")
class TFWithObjectives(keras.Model):
    """A model that is called with a task and the arguments of its batch.

    The tasks of an encoder-decoder go to its encoder (MLM, TLM), or to both parts (MT). `fit` takes
    what `dataset_of` makes; each update is one step of `fit`, of whatever tasks it is: for every
    objective there is one graph.

    Args:
        model: A language model or an encoder-decoder. Of the latter, MLM and TLM train the
            encoder's own output layer, which is trainable from then on.
        tasks: That it will be called with.

    Raises:
        ConfigError: For a task that the model cannot be trained on.
    """

    train_function: Any

    def __init__(self, model: keras.Model, tasks: Iterable[Task], **options: Any) -> None:
        translates = isinstance(model, TFXLMForConditionalGeneration)
        if not translates and not isinstance(model, TFXLMWithLMHeadModel):
            raise ConfigError(
                f"a {type(model).__name__} was given: expected a language model "
                "(TFXLMWithLMHeadModel) or an encoder-decoder (TFXLMForConditionalGeneration)."
            )
        tasks = tuple(tasks)
        check_objectives(type(model).__name__, model.config, tasks, translates=translates)
        # Inputs are cast where they are used, as in the model itself.
        super().__init__(**({"dtype": model.dtype_policy, "autocast": False} | options))
        self.model, self.tasks = model, tasks
        if translates and any(task.objective != "mt" for task in tasks):
            _train_output_of(model.encoder)
        self.built = True
        self._updates: Updates | None = None
        # Of `fit`, since its epoch began: of each task its sum of losses, and its labels.
        self._sums: dict[str, list[float]] = {}

    def __call__(self, objective: str, tensors: Mapping[str, tf.Tensor], **options: Any) -> Any:
        """Call the model, as `call` says: Keras takes tensors alone for arguments."""
        return self.call(objective, tensors, **options)

    def call(
        self,
        objective: str,
        tensors: Mapping[str, tf.Tensor],
        training: bool = False,
        *,
        output_logits: bool = False,
    ) -> Any:
        """The mean loss over the labels of a batch.

        Args:
            objective: Of its task.
            tensors: By the names of the model's arguments, labels among them.
            training: Whether there is dropout.
            output_logits: Whether to return logits as well.

        Returns:
            float, shape (); with output_logits, a tuple of it and the logits.
        """
        if objective == "mt" or isinstance(self.model, TFXLMWithLMHeadModel):
            output = self.model(
                **tensors, output_logits=output_logits, return_dict=True, training=training
            )
            loss, logits = output.loss, output.logits
        else:
            loss, logits = self._of_encoder(tensors, wants_logits=output_logits, training=training)
        return (loss, logits) if output_logits else loss

    def scores(
        self, objective: str, tensors: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean loss of a batch, and its logits: to evaluate."""
        scored: tuple[tf.Tensor, tf.Tensor] = self(objective, tensors, output_logits=True)
        return scored

    def _of_encoder(
        self, tensors: Mapping[str, tf.Tensor], *, wants_logits: bool, training: bool
    ) -> tuple[tf.Tensor, Any]:
        """Loss and logits of the encoder of an encoder-decoder as a language model."""
        encoder: Any = self.model.encoder
        labels = tensors["labels"]
        inputs = {name: x for name, x in tensors.items() if name != "labels"}
        matrix, embedding_matrix = encoder._shared_matrix(labels)
        hidden = encoder(
            **inputs,
            output_positions=None if wants_logits else encoder._labelled(labels),
            embedding_matrix=embedding_matrix,
            return_dict=True,
            training=training,
        ).last_hidden_state
        scored: tuple[tf.Tensor, Any] = encoder._scored(
            hidden, labels, matrix, wants_logits=wants_logits
        )
        return scored

    # -- Keras ---------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        *,
        clip_grad_norm: float = 0.0,
        mean_of_ranks: bool = False,
        run_eagerly: bool = False,
        **options: Any,
    ) -> None:
        """Say how weights are updated.

        Args:
            optimizer: Keras' or ours, made in the strategy's scope. For float16 its loss is
                scaled by Keras' `LossScaleOptimizer`.
            clip_grad_norm: Largest norm of all gradients of an update together, over all devices;
                0: any.
            mean_of_ranks: As in `TrainingRun`.
            run_eagerly: Without graphs, to look for errors.
            options: Further ones of `keras.Model.compile`, as far as they change nothing: the
                losses are those of the tasks, and XLA would compile every width of a batch anew.

        Raises:
            ConfigError: If the optimizer cannot serve here, or for options that would change what
                is done.
        """
        for name, value in options.items():
            if name not in _OPTIONS or value not in _OPTIONS[name]:
                raise ConfigError(
                    f"compile got {name}={value!r:.60}: expected an optimizer, clip_grad_norm, "
                    "mean_of_ranks and run_eagerly; losses are those of the tasks."
                )
        with self.distribute_strategy.scope():
            super().compile(optimizer=optimizer, run_eagerly=run_eagerly, jit_compile=False)
        self._updates = Updates(
            self, self.optimizer, clip_grad_norm=clip_grad_norm, mean_of_ranks=mean_of_ranks
        )
        self.train_function = None

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile_from_config` needs; None before `compile`."""
        if self._updates is None:
            return None
        return {
            "optimizer": keras.optimizers.serialize(self.optimizer),
            "clip_grad_norm": self._updates.clip_grad_norm,
            "mean_of_ranks": self._updates.mean_of_ranks,
            "run_eagerly": self.run_eagerly,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as a model was that Keras saved."""
        optimizer = keras.optimizers.deserialize(config["optimizer"])
        self.compile(**(config | {"optimizer": optimizer}))

    @property
    def updates(self) -> Updates:
        """What makes an update.

        Raises:
            ConfigError: Before `compile`.
        """
        if self._updates is None:
            raise ConfigError("the model is not compiled: call compile(optimizer) before.")
        return self._updates

    def fit(self, x: Any = None, *args: Any, **options: Any) -> Any:
        """Train, as `keras.Model.fit`.

        Args:
            x: What `dataset_of` made, for several devices with their strategy. It has no end.
            args, options: Keras' own, steps_per_epoch among them, the updates of an epoch; labels
                and weights are in the batches.

        Raises:
            ConfigError: For what `fit` cannot do here.
            InputError: For another dataset.
            TrainingError: If a loss is NaN or infinite; the weights are those of before.
        """
        refused = ("y", "sample_weight", "class_weight", "validation_data", "validation_split")
        given = [name for name in refused if options.get(name) is not None]
        if args or given:
            raise ConfigError(
                f"fit got {', '.join(given) or 'further arguments by position'}: the batches of "
                "dataset_of hold labels, and EvaluationCallback evaluates."
            )
        if options.get("batch_size") is not None:
            raise ConfigError(
                f"fit got batch_size {options['batch_size']}: the sizes of the batches of "
                "dataset_of are those of ObjectiveSettings."
            )
        strategy = self.distribute_strategy
        if self.updates.workers > 1:
            raise ConfigError(
                "Keras' fit does not serve several workers: train with TrainingRun, which does."
            )
        self.updates.check_variables()
        check_passes(x, strategy)
        if options.get("steps_per_epoch") is None:
            raise ConfigError(
                "fit got no steps_per_epoch: say how many updates an epoch has, because the "
                "batches of dataset_of have no end."
            )
        steps = options["steps_per_epoch"]
        if not isinstance(steps, (int, np.integer)) or steps < 1:  # Keras takes 0 for no end
            raise ConfigError(f"steps_per_epoch is {steps!r}: expected a positive whole number.")
        callbacks = options.get("callbacks") or ()
        every = [*getattr(callbacks, "callbacks", keras.tree.flatten(callbacks))]
        for callback in every:
            if isinstance(callback, (CheckpointCallback, EvaluationCallback)):
                callback.stand_beside(every)
        self.updates.expected = None  # until a CheckpointCallback says
        return super().fit(x, **({"shuffle": False} | options))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # It is built. Under a strategy Keras would take the mean over all devices' first batches,
        # to see their shape, which fails where one has a row more than another.
        pass

    def train_on_batch(self, *args: Any, **options: Any) -> Any:
        """Refused: an update has several passes, and `fit` makes them.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "Keras' train_on_batch does not serve tasks: train with fit, or with TrainingRun."
        )

    def make_train_function(self, force: bool = False) -> Callable[[Iterator[Any]], Any]:
        """What makes a step of `fit`: it takes an element, and runs the graphs of its tasks."""
        self.train_function = self._fitted
        return self._fitted

    def _fitted(self, iterator: Iterator[Any]) -> dict[str, float]:
        for _ in range(self.steps_per_execution):
            made = self.updates.make(next(iterator))
            for name, (loss, labels) in made.sums.items():
                sums = self._sums.setdefault(name, [0.0, 0.0])
                sums[0] += loss
                sums[1] += labels
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, float]:
        """Mean losses over the labels since the epoch began: of all, and of each task.

        Until there was a label, there is none: small batches may have no word to predict.
        """
        if not self._sums:
            return {}
        loss, labels = (sum(each) for each in zip(*self._sums.values(), strict=True))
        of_tasks = {f"loss_{name}": total / of for name, (total, of) in self._sums.items()}
        return {"loss": loss / labels, **of_tasks}

    def reset_metrics(self) -> None:
        """Begin an epoch."""
        self._sums = {}

    def make_test_function(self, force: bool = False) -> Any:
        """Refused: `tally` evaluates, and in `fit` an `EvaluationCallback`."""
        raise ConfigError(
            "Keras' evaluate does not serve tasks: call tally(batches), or give fit an "
            "EvaluationCallback."
        )

    def make_predict_function(self, force: bool = False) -> Any:
        """Refused: its model predicts."""
        raise ConfigError(
            "Keras' predict does not serve tasks: call predict of its model (`.model.predict`)."
        )

    def tally(self, batches: Iterable[Batch]) -> Tally:
        """Sums over batches without dropout, on all devices."""
        tally = Tally()
        for batch in batches:
            tally.add(*scored(self, batch))
        return tally

    def get_config(self) -> dict[str, Any]:
        """What `from_config` rebuilds it from."""
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "tasks": [[task.objective, *task.languages] for task in self.tasks],
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TFWithObjectives:
        """Make one of what `get_config` returned."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        tasks = tuple(Task(kind, tuple(languages)) for kind, *languages in config["tasks"])
        return cls(model, tasks, name=config["name"])


def _train_output_of(encoder: Any) -> None:
    """Train the output layer that translating does not read, if its encoder is trained."""
    if encoder.trainable and encoder.trainable_variables:
        encoder.pred_layer.trainable = True
