"""Updates of the weights: what `fit` and `TrainingRun` share, as graphs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from xlm_core.errors import ConfigError, TrainingError
from xlm_core.objectives import Batch
from xlm_core.training.engine import LOWEST_LOSS_SCALE, check_clip_grad_norm
from xlm_tf.losses import IGNORED
from xlm_tf.optimizers import OriginalAdam, clipped, total_norm
from xlm_tf.training.reading import Pass, is_distributed, passes_of, piece_of, tensors_of
from xlm_tf.training.states import hyperparameters_of

# Bytes of logits that an evaluation makes at a time.
LOGITS_OF_EVALUATION = 2**28
# Of a variable that a task does not use there is none.
Gradients = list[list[tf.Tensor | None]]


@dataclass(frozen=True)
class Made:
    """An update.

    Attributes:
        sums: Of each task that took part, by its name: the sum of losses, and the labels, over
            all devices of all processes.
        tokens: Of all of them.
        gradient_norm: Before clipping.
    """

    sums: dict[str, tuple[float, int]]
    tokens: int
    gradient_norm: float


def check_update(found: int, made: int) -> None:
    """Raise `ConfigError` unless the batches of `found` follow on `made` updates."""
    if found != made:
        raise ConfigError(
            f"fit was given the batches of update {found}, and {made} updates were made by what "
            "CheckpointCallback knows: give it dataset_of(batches, first), with what resume "
            "returned, or in a further fit the callback's `update`."
        )


class Updates:
    """Makes updates of a model's weights.

    The loss of an update is the sum over the labels of all its passes on all devices, divided by
    their number. Gradients are dense and summed over the devices before they are clipped; where
    Keras itself would sum gradients of look-ups over devices, it goes wrong.

    For each objective there is one graph that computes gradients, one that sums them, and one for
    the optimizer, so that weights stay as they are if a loss is NaN.

    Args:
        whole: A `TFWithObjectives`.
        optimizer: Of its variables.
        clip_grad_norm, mean_of_ranks: As in `TrainingRun`.

    Attributes:
        inner_optimizer: The optimizer itself, where its loss is scaled.
        variables: Those that are trained.
        workers, rank: Processes that share the model, and which of them this is.
        tokens: Read so far, by all devices of all processes.
        last: The update whose batches were the last, by their dataset; -1: there was none.
        expected: The one whose batches have to come next, and of how many parts; None: any.
        updates_before: Those that the optimizer counts and this run did not make.
        hyperparameters: Of the optimizer, as they were given.

    Raises:
        ConfigError: If model, strategy and optimizer do not go together.
    """

    def __init__(
        self, whole: Any, optimizer: Any, *, clip_grad_norm: float, mean_of_ranks: bool
    ) -> None:
        self.whole, self.optimizer = whole, optimizer
        self.clip_grad_norm, self.mean_of_ranks = clip_grad_norm, mean_of_ranks
        self.strategy: tf.distribute.Strategy = whole.distribute_strategy
        self.tokens = self.updates_before = 0
        self.last = -1
        self.expected: tuple[int, int] | None = None
        self.workers, self.rank = _workers_and_rank(self.strategy)
        self.variables = list(whole.trainable_variables)
        self.scales_loss = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self.inner_optimizer = optimizer.inner_optimizer if self.scales_loss else optimizer
        self._check()
        # As they were given: callbacks may change them.
        self.hyperparameters = hyperparameters_of(self.inner_optimizer)
        self._graphs: dict[Any, Callable[..., Any]] = {}
        if optimizer.built and not {id(x) for x in self.variables} <= {
            id(x) for x in self.inner_optimizer._trainable_variables
        }:
            raise ConfigError(
                "the optimizer does not know all variables that are to be trained: give a new one."
            )
        if (
            optimizer.built
            and self.inner_optimizer.use_ema
            and len(self.inner_optimizer._trainable_variables) != len(self.variables)
        ):  # at its end Keras' fit goes by their places
            raise ConfigError(
                "the optimizer keeps averages (use_ema) of other variables than are to be trained: "
                "give a new one."
            )
        with self.strategy.scope():
            if not optimizer.built:
                optimizer.build(self.variables)

    def _check(self) -> None:
        check_clip_grad_norm(self.clip_grad_norm)
        for what, its in (
            ("model", self.whole.model.distribute_strategy),
            ("optimizer", self.inner_optimizer._distribution_strategy),
        ):
            if its is not self.strategy:
                raise ConfigError(
                    f"the {what} was made outside the scope of the strategy that trains: make "
                    "model, WithObjectives and optimizer all within strategy.scope()."
                )
        if hasattr(self.inner_optimizer, "optimizers"):
            raise ConfigError(
                f"the optimizer is a {type(self.inner_optimizer).__name__}, whose parts would sum "
                "gradients over devices once more, and need those of all variables at every "
                "update: give one optimizer."
            )
        if self.inner_optimizer.gradient_accumulation_steps:
            raise ConfigError(
                "the optimizer accumulates gradients (gradient_accumulation_steps), of which tasks "
                "that use other variables would make wrong means: leave it out, and give "
                "accumulate= to dataset_of or TrainingRun."
            )
        inner = self.inner_optimizer
        averages = inner.use_ema and inner.ema_overwrite_frequency
        if averages and is_distributed(self.strategy):
            raise ConfigError(
                "the optimizer puts averages in place of the weights every few updates "
                f"(ema_overwrite_frequency={inner.ema_overwrite_frequency}), which Keras cannot do "
                "on several devices: leave it out, and take SwapEMAWeights at the end."
            )
        if not self.variables:
            raise ConfigError("the model has nothing to train: no variable of it is trainable.")
        if self.whole.model.variable_dtype in ("float16", "bfloat16"):
            raise ConfigError(
                f"weights are in half precision ({self.whole.model.variable_dtype}), in which "
                "small updates vanish: give the model the policy mixed_bfloat16 or mixed_float16."
            )
        is_half = self.whole.model.compute_dtype == "float16"
        if is_half and not tf.config.list_logical_devices("GPU"):
            raise ConfigError("float16 trains on GPUs alone: choose bfloat16 on this CPU.")

    @property
    def made(self) -> int:
        """Number of updates that this run made."""
        return int(number_in(self.inner_optimizer.iterations)) - self.updates_before

    def check_variables(self) -> None:
        """Raise `ConfigError` if what is to be trained is no longer what the updates change."""
        if [*map(id, self.whole.trainable_variables)] != [*map(id, self.variables)]:
            raise ConfigError(
                "the variables that are to be trained are others than before: since the model was "
                "compiled, resizing or pruning replaced some, or some were frozen or set free. "
                "Compile it again, with a new optimizer (or make a new TrainingRun)."
            )

    # -- one update ----------------------------------------------------------------------------

    def make(self, element: Any) -> Made:
        """Make an update of an element of `dataset_of`.

        Raises:
            ConfigError: If it is of other tasks, or of another update than is expected.
            TrainingError: If a loss or the norm of the gradients is NaN or infinite; the weights
                are those of before.
        """
        passes = passes_of(element, self.strategy, self.whole.tasks, self.whole.model.config)
        update, number = self.expected or (passes[0].update, len(passes))
        check_update(passes[0].update, update)  # before any weight changes
        if number != len(passes):
            raise ConfigError(
                f"an update of the dataset has {len(passes)} parts, and CheckpointCallback was "
                f"told of {number}: give both the same batches and the same accumulate."
            )
        sums: dict[str, tuple[float, int]] = {}
        total: Gradients | None = None
        losses = []
        for each in passes:
            loss, gradients = self._gradients(each, self._weights(each, passes))
            total = gradients if total is None else _added(total, gradients)
            losses.append(loss)
        assert total is not None
        summed, norm = self._summed(total)
        for each, loss in zip(passes, losses, strict=True):
            name = self.whole.tasks[each.task].name
            before = sums.get(name, (0.0, 0))
            sums[name] = before[0] + float(loss), before[1] + each.of_all
        sums = {name: found for name, found in sums.items() if found[1]}
        self._check_finite(sums, float(norm))
        scale, tokens = self._scale(), sum(each.tokens for each in passes)
        made, applied = self.made, False
        try:
            self._apply(summed, norm)
            applied = True
        finally:  # Ctrl-C is raised behind the graph, which has changed the weights
            if applied or self.made != made:
                self.tokens += tokens
                self.last = passes[0].update
        return Made(sums, tokens, float(norm) / scale)

    def _weights(self, each: Pass, passes: Sequence[Pass]) -> list[float]:
        """What the mean loss of each device counts for."""
        if not self.mean_of_ranks:
            labels = sum(one.of_all for one in passes)
            return [own / max(labels, 1) for own in each.labels]
        if each.parts % self.strategy.num_replicas_in_sync == 0:  # a part is what a GPU has
            labelled = sum(one.of_all > 0 for one in passes)
            return [own / max(each.of_all, 1) / max(labelled, 1) for own in each.labels]
        labelled = sum(one.labelled for one in passes)
        return [(own > 0) / max(labelled, 1) for own in each.labels]

    def _check_finite(self, sums: Mapping[str, tuple[float, int]], norm: float) -> None:
        bad = [name for name, (loss, _) in sums.items() if not math.isfinite(loss)]
        if bad:
            found = f"the loss of {', '.join(bad)} is {sums[bad[0]][0]}"
        elif not (self.scales_loss or math.isfinite(norm)):
            found = f"the norm of the gradients is {norm}"
        elif self.scales_loss and self._scale() < LOWEST_LOSS_SCALE:
            found = "gradients are not finite, whatever the loss's scale,"
        else:
            return
        rate = number_in(self.inner_optimizer.learning_rate)
        raise TrainingError(
            f"{found} in update {self.made + 1}, at a learning rate of {rate:.3g}: the weights are "
            "those of before. The learning rate may be too high, or the warm-up too short."
        )

    def _scale(self) -> float:
        if self.scales_loss:
            return number_in(self.optimizer.dynamic_scale)
        return float(self.optimizer.loss_scale_factor or 1.0)

    # -- graphs --------------------------------------------------------------------------------

    def _gradients(self, each: Pass, weights: Sequence[float]) -> tuple[tf.Tensor, Gradients]:
        """The sum of losses over all devices, and for each device here the gradients."""
        objective, names = self.whole.tasks[each.task].objective, tuple(each.tensors[0])

        def compute(tensors: Any, weights: Any, labels: Any) -> Any:
            def on_device(x: Any, weight: tf.Tensor, own: tf.Tensor) -> Any:
                with tf.GradientTape() as tape:
                    loss = self.whole.call(objective, x, training=True)
                    # By which `apply` divides gradients: `loss_scale_factor` too.
                    scaled = self.optimizer.scale_loss(loss * tf.cast(weight, loss.dtype))
                gradients = tape.gradient(scaled, [x.value for x in self.variables])
                # Where there is no label, the loss of none may be anything.
                counted = tf.where(own > 0, tf.cast(loss, tf.float64) * own, 0)
                return self._over_devices(counted), [_dense(x) for x in gradients]

            results = self._run(on_device, tensors, weights, labels)
            return results[0][0], [gradients for _, gradients in results]

        kinds = {name: tf.TensorSpec((None, None), tf.int64) for name in names}
        number = len(weights)
        signature = (
            [kinds] * number,
            [tf.TensorSpec((), tf.float64)] * number,
            [tf.TensorSpec((), tf.float64)] * number,
        )
        graph = self._graph(("gradients", objective, names), compute, signature)
        floats = [[tf.constant(x, tf.float64) for x in xs] for xs in (weights, each.labels)]
        found: tuple[tf.Tensor, Gradients] = graph(each.tensors, *floats)
        return found

    def _summed(self, gradients: Gradients) -> tuple[Gradients, tf.Tensor]:
        """Gradients summed over all devices, and the norm of all of them together."""

        def compute(gradients: Any) -> Any:
            def on_device(mine: list[tf.Tensor]) -> Any:
                summed = self._over_devices(mine)
                return summed, total_norm(summed)

            results = self._run(on_device, gradients)
            return [summed for summed, _ in results], results[0][1]

        used = _used(gradients)
        given = [[x for x in mine if x is not None] for mine in gradients]
        graph = self._graph(("summed", used), compute, (self._kinds(used, len(gradients)),))
        found, norm = graph(given)
        return [_filled(used, mine) for mine in found], norm

    def _apply(self, gradients: Gradients, norm: tf.Tensor) -> None:
        """Let the optimizer change the weights."""
        used = _used(gradients)

        def compute(gradients: Any, factor: tf.Tensor) -> None:
            variables = [x for x, is_used in zip(self.variables, used, strict=True) if is_used]

            def on_device(mine: list[tf.Tensor]) -> None:
                if not self.clip_grad_norm:
                    self.optimizer.apply(mine, variables)
                elif isinstance(self.optimizer, OriginalAdam):
                    self.optimizer.apply_times(factor, mine, variables)
                else:
                    self.optimizer.apply(clipped(mine, factor), variables)

            with _summed_already(self.inner_optimizer):
                self.strategy.run(on_device, (self._per_replica(gradients),))

        factor = 1.0
        if self.clip_grad_norm:
            scale = self._scale()  # as torch.nn.utils.clip_grad_norm_
            factor = min(self.clip_grad_norm * scale / (float(norm) + 1e-6 * scale), 1.0)
        given = [[x for x in mine if x is not None] for mine in gradients]
        signature = (self._kinds(used, len(given)), tf.TensorSpec((), tf.float64))
        graph = self._graph(("apply", used), compute, signature)
        graph(given, tf.constant(factor if math.isfinite(factor) else 1.0, tf.float64))

    def scored(self, objective: str, tensors: list[dict[str, tf.Tensor]]) -> list[tf.Tensor]:
        """For each device here: the mean loss, labels, and how many had the highest logit.

        float64, shape (3,).
        """

        def compute(tensors: Any) -> Any:
            def on_device(x: Any) -> Any:
                loss, logits = self.whole.scores(objective, x)
                labels = x["labels"]
                counted = labels != IGNORED
                correct = (tf.argmax(logits, -1, tf.int64) == labels) & counted
                found = (tf.reduce_sum(tf.cast(x, tf.float64)) for x in (counted, correct))
                return tf.stack([tf.cast(loss, tf.float64), *found])

            return self._run(on_device, tensors)

        names = tuple(tensors[0])
        kinds = {name: tf.TensorSpec((None, None), tf.int64) for name in names}
        graph = self._graph(("scored", objective, names), compute, ([kinds] * len(tensors),))
        found: list[tf.Tensor] = graph(tensors)
        return found

    def over_workers(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, which all have to ask."""
        if self.workers == 1:
            return list(values)

        def compute(values: tf.Tensor) -> Any:
            # One device of a process gives them, because shares would be rounded.
            others = [tf.zeros_like(values)] * (len(self.local_ranks) - 1)
            return self._run(self._over_devices, [values, *others])[0]

        graph = self._graph("sums", compute, (tf.TensorSpec((None,), tf.float64),))
        found: list[float] = graph(tf.constant(values, tf.float64)).numpy().tolist()
        return found

    @property
    def local_ranks(self) -> range:
        """Ranks of the devices of this process."""
        own = self.strategy.num_replicas_in_sync // self.workers
        return range(self.rank * own, (self.rank + 1) * own)

    def _graph(self, key: Any, function: Callable[..., Any], signature: Any) -> Callable[..., Any]:
        if self.whole.run_eagerly:
            return function
        if key not in self._graphs:
            # An object of its own: by its code, TensorFlow would count all graphs as one function
            # that is made again and again, and warn of it.
            own = functools.partial(function)
            self._graphs[key] = tf.function(own, input_signature=signature, autograph=False)
        return self._graphs[key]

    def _kinds(self, used: Sequence[bool], devices: int) -> list[list[tf.TensorSpec]]:
        variables = [x for x, is_used in zip(self.variables, used, strict=True) if is_used]
        return [[tf.TensorSpec(x.shape, x.dtype) for x in variables]] * devices

    def _run(self, function: Callable[..., Any], *of_devices: list[Any]) -> Any:
        """Run a function on each device here with its own arguments; a list of what it returns."""
        result = self.strategy.run(function, tuple(map(self._per_replica, of_devices)))
        return _of_devices(self.strategy, result, len(of_devices[0]))

    def _per_replica(self, of_devices: list[Any]) -> Any:
        if len(of_devices) == 1 and self.strategy.num_replicas_in_sync == 1:
            return of_devices[0]
        structure = of_devices[0]
        flat = [tf.nest.flatten(each) for each in of_devices]
        values = [self._distributed(each) for each in zip(*flat, strict=True)]
        return tf.nest.pack_sequence_as(structure, values)

    def _distributed(self, of_devices: Sequence[tf.Tensor]) -> Any:
        turn = iter(of_devices)
        return self.strategy.experimental_distribute_values_from_function(lambda _: next(turn))

    def _over_devices(self, values: Any) -> Any:
        context = tf.distribute.get_replica_context()
        placed = tf.nest.map_structure(tf.identity, values)  # where the sums are to be
        return context.all_reduce(tf.distribute.ReduceOp.SUM, placed)


def scored(whole: Any, batch: Batch) -> tuple[float, int, int]:
    """Sum of losses, labels, and how many had the highest logit, of this process' rows."""
    updates: Updates = whole.updates
    ranks = updates.strategy.num_replicas_in_sync
    # So that the logits of a piece have a bounded size.
    size = 4 * batch.labels.size * whole.model.config.vocab_size
    number = max(1, -(-size // (ranks * LOGITS_OF_EVALUATION)))
    loss, labels, correct = 0.0, 0, 0
    for turn in range(number):
        places = [rank * number + turn for rank in updates.local_ranks]
        own = [piece_of(batch, place, ranks * number) for place in places]
        found = updates.scored(batch.task.objective, [tensors_of(each) for each in own])
        for each in found:
            mean, counted, right = each.numpy().tolist()
            loss += mean * counted if counted else 0.0
            labels, correct = labels + int(counted), correct + int(right)
    return loss, labels, correct


@contextmanager
def _summed_already(optimizer: Any) -> Iterator[None]:
    """Keras' optimizer takes gradients as they are: they are sums over all devices already."""
    if not hasattr(optimizer, "_all_reduce_sum_gradients"):
        raise ConfigError(
            f"the optimizer {type(optimizer).__name__} sums gradients in a way that is not known "
            "here: this version of Keras is not supported for training."
        )
    optimizer._all_reduce_sum_gradients = list
    try:
        yield
    finally:
        del optimizer._all_reduce_sum_gradients


def _workers_and_rank(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    resolver = strategy.cluster_resolver
    if resolver is None or not getattr(strategy.extended, "_in_multi_worker_mode", bool)():
        return 1, 0
    return int(strategy.extended._num_workers), int(strategy.extended._id_in_cluster)


def number_in(variable: Any) -> float:
    """The number that a variable of Keras holds, on each of several devices the same."""
    return float(keras.ops.convert_to_numpy(variable))


def _dense(gradient: Any) -> tf.Tensor | None:
    """A gradient of look-ups as a matrix: rows that were looked up several times are added."""
    return None if gradient is None else tf.convert_to_tensor(gradient)


def _added(first: Gradients, second: Gradients) -> Gradients:
    def added(x: tf.Tensor | None, y: tf.Tensor | None) -> tf.Tensor | None:
        return x if y is None else y if x is None else x + y

    return [
        [added(x, y) for x, y in zip(one, two, strict=True)]
        for one, two in zip(first, second, strict=True)
    ]


def _used(gradients: Gradients) -> tuple[bool, ...]:
    return tuple(x is not None for x in gradients[0])


def _filled(used: Sequence[bool], gradients: Sequence[tf.Tensor]) -> list[tf.Tensor | None]:
    found = iter(gradients)
    return [next(found) if is_used else None for is_used in used]


def _of_devices(strategy: tf.distribute.Strategy, result: Any, devices: int) -> list[Any]:
    """What each device returned, in their order."""

    def of_device(x: Any, at: int) -> Any:
        local = strategy.experimental_local_results(x)
        return local[at] if len(local) > 1 else local[0]  # the same of all

    return [
        tf.nest.map_structure(functools.partial(of_device, at=at), result) for at in range(devices)
    ]
