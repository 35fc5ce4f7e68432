"""What makes a model at home in Keras: calls with dictionaries, training, saving, export."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, InputError, refuse_unknown_arguments
from xlm_core.weights import ENCODER_DECODER
from xlm_tf.datasets import prepare_tf_dataset
from xlm_tf.fast.rule import tracing
from xlm_tf.layers import Checkpointed
from xlm_tf.losses import IGNORED
from xlm_tf.quantization import QuantizedLinear, is_quantized
from xlm_tf.quantization import quantize as quantize_model
from xlm_tf.sample_weights import (
    TOKENS,
    checked_class_weight,
    class_weights_of,
    labels_by_name,
    multiplied,
    weighted_loss,
)

LABEL_NAMES = ("labels", "start_positions", "end_positions", "is_impossible")
# Keras forgets the weights of arrays that come without labels, so they go among the features.
_WEIGHTS = "sample_weight"


def model_call(call: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a model's `call` so that a dictionary of arguments may be its first argument."""

    @functools.wraps(call)
    def wrapper(self: Any, input_ids: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(input_ids, Mapping):
            return call(self, input_ids, *args, **kwargs)
        given = {name: value for name, value in kwargs.items() if value is not None}
        twice = sorted(input_ids.keys() & given.keys())
        if args or twice:
            raise InputError(
                "arguments were given in a dictionary and beside it"
                + (f": {', '.join(twice)}" if twice else "")
                + ". Give each once, the others by keyword."
            )
        return call(self, **{str(name): value for name, value in input_ids.items()}, **given)

    # The code is graph-ready as it stands; AutoGraph would only slow tracing down.
    return tf.autograph.experimental.do_not_convert(wrapper)


def _is_array(value: Any) -> bool:
    return tf.is_tensor(value) or isinstance(value, (np.ndarray, keras.KerasTensor))


_LOSS_ALONE: ContextVar[bool] = ContextVar("loss_alone", default=False)
_LOGITS_TOO: ContextVar[bool] = ContextVar("logits_too", default=False)


def wants_loss_alone() -> bool:
    """Whether this call is a step of `fit` or `evaluate` that looks at the model's loss only."""
    return _LOSS_ALONE.get()


def wants_logits_too() -> bool:
    """Whether this call is a step of `fit` or `evaluate` that weighs the loss of each label."""
    return _LOGITS_TOO.get()


class KerasModel(Checkpointed, keras.Model):
    """A Keras model whose outputs are `xlm_core.outputs` and may hold their own loss."""

    architecture: str
    base_model_prefix: str
    config: XLMConfig
    # How often variables were replaced by others, and how often before graphs of steps were made.
    _changes: int = 0
    _changes_in_graphs: int = 0
    _class_weight: tuple[tuple[int, float], ...] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model, as `call` says.

        Args:
            args: The first may also be a mapping of arguments, such as a tokenizer returns, or a
                list or a tuple of them, in the order of `call`.
            kwargs: Other arguments of `call`.
        """
        first = args[0] if args else None
        if isinstance(first, (list, tuple)) and any(map(_is_array, first)):
            first = self._named(first)
        if isinstance(first, Mapping):
            # Keras takes nothing but tensors in a structure.
            flags = {name: x for name, x in first.items() if not _is_array(x)}
            if flags or first is not args[0] or type(first) is not dict:
                first = {name: x for name, x in first.items() if name not in flags}
                given = {name: x for name, x in flags.items() if x is not None}
                if twice := sorted(given.keys() & kwargs.keys()):
                    raise InputError(
                        "arguments were given in a dictionary and beside it: "
                        f"{', '.join(twice)}. Give each once, the others by keyword."
                    )
                return super().__call__(first, *args[1:], **given, **kwargs)
        return super().__call__(*args, **kwargs)

    def _named(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """A list of arguments of `call` by name."""
        names = [name for name in inspect.signature(self.call).parameters if name != "self"]
        if len(inputs) > len(names):
            raise InputError(
                f"there are {len(inputs)} inputs in a {type(inputs).__name__}: "
                f"expected at most {len(names)}."
            )
        return dict(zip(names, inputs, strict=False))

    # -- Keras: training -----------------------------------------------------------------------

    def fit(self, x: Any = None, y: Any = None, *args: Any, **options: Any) -> Any:
        """Train, as `keras.Model.fit`.

        Args:
            x: Features, with labels among them or not.
            y: Labels apart: an array, for spans a dictionary or a pair. Where compile() got no
                loss, the model's own is taken.
            args, options: Keras' own. sample_weight and class_weight weigh the labels of the
                model's own loss too; it stays a mean over labels.

        Raises:
            InputError: For labels or weights that do not fit.
        """
        given = inspect.signature(keras.Model.fit).bind(self, x, y, *args, **options).arguments
        del given["self"]
        class_weight = given.pop("class_weight", None)
        if isinstance(given.get("validation_data"), tuple):
            names = ("x", "y", "sample_weight")
            parts = keras.utils.unpack_x_y_sample_weight(given["validation_data"])
            held_out = _with_weights_inside(dict(zip(names, parts, strict=True)))
            given["validation_data"] = tuple(held_out[name] for name in names)
        with self._weighing(class_weight):
            return super().fit(**_with_weights_inside(given))

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **options: Any) -> Any:
        """Loss and metrics, as `keras.Model.evaluate`; x and y as in `fit`."""
        bound = inspect.signature(keras.Model.evaluate).bind_partial(self, x, y, *args)
        given = bound.arguments | options
        del given["self"]
        return super().evaluate(**_with_weights_inside(given))

    def predict(self, x: Any, *args: Any, **options: Any) -> Any:
        """Outputs, as `keras.Model.predict`; labels among the features are left aside."""
        return super().predict(_as_dictionary(x), *args, **options)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One step of training, as `keras.Model.train_on_batch`; arguments as in `fit`."""
        with self._weighing(class_weight):
            return super().train_on_batch(
                _as_dictionary(x), y, sample_weight, return_dict=return_dict
            )

    def test_on_batch(self, x: Any, *args: Any, **options: Any) -> Any:
        """One step of evaluation, as `keras.Model.test_on_batch`; arguments as in `fit`."""
        return super().test_on_batch(_as_dictionary(x), *args, **options)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs of one batch, as `keras.Model.predict_on_batch`."""
        return super().predict_on_batch(_as_dictionary(x))

    def make_train_function(self, force: bool = False) -> Any:
        """The graph of a step of `fit`, made anew after resizing or pruning.

        Raises:
            ConfigError: If the optimizer was made for the variables that there were before.
        """
        self._drop_old_graphs()
        if self.train_function is None and self.optimizer is not None:
            known = {*map(id, getattr(self.optimizer, "_trainable_variables", ()))}
            if known and any(id(each) not in known for each in self.trainable_variables):
                raise ConfigError(
                    "the optimizer does not know all variables that are to be trained: since it "
                    "was first used, resizing or pruning replaced some, or some became trainable. "
                    "Compile the model again, with a new optimizer."
                )
            inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            averages = getattr(inner, "use_ema", False)
            if averages and known and len(known) != len(self.trainable_variables):
                raise ConfigError(
                    "the optimizer keeps averages (use_ema) of variables that are no longer "
                    "trained, and at its end Keras' fit would put them in the place of others. "
                    "Compile the model again, with a new optimizer."
                )
        return super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> Any:
        """The graph of a step of `evaluate`, made anew after resizing or pruning."""
        self._drop_old_graphs()
        return super().make_test_function(force)

    def make_predict_function(self, force: bool = False) -> Any:
        """The graph of a step of `predict`, made anew after resizing or pruning."""
        self._drop_old_graphs()
        return super().make_predict_function(force)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Of several devices Keras would take the mean over their first batches, to see its shape:
        # ids become floats, and it fails where one device has a row more than another.
        strategy = self._distribute_strategy
        if strategy is not None:
            if iterator is not None:
                _, _, batches = next(iter(iterator))
                data_batch = keras.tree.map_structure(
                    lambda x: strategy.experimental_local_results(x)[0], next(batches)
                )
            with self._step(data_batch, None) as prepared:
                super()._maybe_symbolic_build(data_batch=prepared)

    def _parts(self) -> tuple[Any, ...]:
        """Each encoder of this model, or the model itself if it is one."""
        raise NotImplementedError

    def _drop_old_graphs(self) -> None:
        """Drop graphs of steps that hold variables which resizing, pruning or int8 replaced.

        Each encoder counts its changes: it may go through them by itself, and knows no model around
        it.
        """
        changes = sum(part._changes for part in self._parts())
        if changes != self._changes_in_graphs:
            self.train_function = self.test_function = self.predict_function = None
            self._changes_in_graphs = changes

    @contextmanager
    def _weighing(self, class_weight: Any) -> Iterator[None]:
        """Train with these weights of classes, which the graph of a step holds as constants."""
        checked = checked_class_weight(class_weight)
        if checked != self._class_weight:
            self.train_function = None
        self._class_weight = checked
        try:
            yield
        finally:
            if checked is not None:
                self._class_weight = self.train_function = None

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """The compiled loss where labels are apart and there is one; else the model's own.

        Of several devices, whose gradients Keras adds, each counts for its share, so that the sum
        is the mean of their losses.

        Raises:
            InputError: If there are no labels at all.
            ConfigError: For a compiled loss that cannot be computed of this head's output.
        """
        chosen = self._chosen_loss()
        if y is not None and chosen is not None:
            self._refuse_names(chosen._user_loss, "losses")
            y, predictions = self._compared(y, y_pred)
            return super().compute_loss(x, y, predictions, sample_weight, training)
        labels = _labels_in(x) if y is None else labels_by_name(self.architecture, y)
        if not labels or y_pred is None:
            raise InputError(
                "no loss to compute: give labels among the features, or give (features, labels), "
                "with a loss in compile() or for the model's own."
            )
        loss = None
        if sample_weight is None:
            if isinstance(y_pred, tuple):  # config.return_dict is False
                loss = y_pred[0] if _holds_labels(x) else None
            else:
                loss = y_pred.get("loss")
        if loss is None:
            loss = weighted_loss(self, y_pred, labels, sample_weight)
        total = keras.ops.sum([loss, *self.losses]) if self.losses else loss
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        return total / tf.cast(devices, total.dtype) if devices > 1 else total

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Metrics over the logits, with the labels given apart or among the features.

        Labels of -100 do not count.

        Raises:
            ConfigError: For metrics that cannot be computed of this head's output.
        """
        metrics = self._compile_metrics
        if metrics is None:
            return self.get_metrics_result()
        for asked in (metrics._user_metrics, metrics._user_weighted_metrics):
            self._refuse_names(asked, "metrics")
        if y is None and isinstance(x, Mapping):
            y = _labels_to_measure(x)
        if y is None:
            return self.get_metrics_result()
        if isinstance(y_pred, tuple) and _holds_labels(x):
            y_pred = y_pred[1:]  # the loss comes first
        y, predictions = self._compared(y, y_pred)
        if _are_of_tokens(self.architecture, y):
            self._update_where_labelled(y, predictions, sample_weight)
        else:
            metrics.update_state(y, predictions, sample_weight)
        return self.get_metrics_result()

    def _update_where_labelled(self, y: Any, predictions: Any, sample_weight: Any) -> None:
        """Update all metrics with the tokens that have a label."""
        y, metrics = tf.convert_to_tensor(y), self._compile_metrics
        counted = y != IGNORED
        y, counted = tf.where(counted, y, 0), tf.cast(counted, tf.float32)
        if not metrics.built:
            metrics.build(y, predictions)
        width = tf.cast(tf.shape(y)[1], tf.float32)
        for every, given in (
            (metrics._flat_metrics, None),
            (metrics._flat_weighted_metrics, sample_weight),
        ):
            for metric in (each for of in filter(None, every) for each in of.metrics):
                weights = multiplied(given, counted)
                # Keras takes the mean of each row first, by which a token of a wide batch would
                # count for less.
                is_mean = isinstance(metric, keras.metrics.Mean)
                metric.update_state(
                    y, predictions, sample_weight=weights * width if is_mean else weights
                )

    def train_step(self, data: Any) -> Any:
        """One batch of `fit`.

        Raises:
            ConfigError: For an int8 model.
        """
        if is_quantized(self):
            raise ConfigError(
                "this model's matrices are int8, for inference: train it before quantize()."
            )
        with self._step(data, self._class_weight) as prepared:
            return super().train_step(prepared)

    def test_step(self, data: Any) -> Any:
        """One batch of `evaluate`."""
        with self._step(data, None) as prepared:
            return super().test_step(prepared)

    @contextmanager
    def _step(
        self, data: Any, class_weight: tuple[tuple[int, float], ...] | None
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Features, labels and weights of a step, for whose time the model returns what it needs.

        For the model's own loss, labels that are apart are put among the features as well.
        """
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        x = _as_dictionary(x)
        if isinstance(x, dict) and _WEIGHTS in x:
            x = dict(x)
            weights = x.pop(_WEIGHTS)
        # A loss of the user's own may look at logits, and wants its labels as they are.
        overridden = type(self).compute_loss is not KerasModel.compute_loss
        if y is not None and self._chosen_loss() is None and not overridden:
            y = labels_by_name(self.architecture, y)
            x = self._features_with(x, y)
        if class_weight is not None:
            own_loss = y is None or self._chosen_loss() is None
            labels = x if y is None else y
            found = class_weights_of(self, labels, class_weight, own_loss=own_loss)
            weights = multiplied(weights, found)
        weighs = weights is not None and _holds_labels(x)
        alone = _holds_labels(x) and not weighs and not overridden
        alone = alone and self._compile_metrics is None
        tokens = _LOSS_ALONE.set(alone), _LOGITS_TOO.set(weighs)
        kept = self.config.return_dict, self.config.output_hidden_states
        if weighs:
            self.config.return_dict = True
            if self.architecture == "XLMForQuestionAnswering":  # which returns no logits
                self.config.output_hidden_states = True
        try:
            yield x, y, weights
        finally:
            _LOSS_ALONE.reset(tokens[0])
            _LOGITS_TOO.reset(tokens[1])
            self.config.return_dict, self.config.output_hidden_states = kept

    def _features_with(self, x: Any, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Features of any form as a dictionary, with labels."""
        if isinstance(x, (list, tuple)):
            x = self._named(x)
        if not isinstance(x, Mapping):
            x = {"input_ids": x}
        if twice := sorted(x.keys() & labels.keys()):
            raise InputError(
                f"{', '.join(twice)} were given among the features and apart: give them once."
            )
        return {**x, **labels}

    def predict_step(self, data: Any) -> Any:
        """One batch of `predict`; labels among the features are left aside."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, Mapping):
            x = {**self._decoder_inputs(x), **x}
            x = {name: value for name, value in x.items() if name not in LABEL_NAMES}
        return super().predict_step(keras.utils.pack_x_y_sample_weight(x, y, sample_weight))

    def _decoder_inputs(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """What the decoder of an encoder-decoder reads where it is left to the labels."""
        given = {"decoder_input_ids", "decoder_inputs_embeds"} & x.keys()
        if self.architecture != ENCODER_DECODER or given or "labels" not in x:
            return {}
        model: Any = self
        labels = tf.convert_to_tensor(x["labels"])
        return {"decoder_input_ids": model.prepare_decoder_input_ids_from_labels(labels)}

    def _compared(self, y: Any, y_pred: Any) -> tuple[Any, Any]:
        """Labels, and the part of the model's output that they are compared with."""
        names = ("start_logits", "end_logits")
        simple = self.architecture == "XLMForQuestionAnsweringSimple"
        if self.architecture == "XLMForQuestionAnswering":
            raise ConfigError(
                "XLMForQuestionAnswering returns spans, no scores to compare with labels: compile "
                "it without loss and metrics, for its own loss."
            )
        if simple and isinstance(y, Mapping) and not self._goes_by_names():
            y = tuple(labels_by_name(self.architecture, y).values())
        if not simple and isinstance(y, Mapping):
            (y,) = labels_by_name(self.architecture, y).values()
        if isinstance(y_pred, tuple):
            return y, list(y_pred[:2]) if simple else y_pred[0]
        if "logits" in y_pred:
            return y, y_pred["logits"]
        if simple and isinstance(y, Mapping):
            # Labels may go under the names of the model's arguments.
            ends = {"start_positions": names[0], "end_positions": names[1]}
            return y, {key: y_pred[ends.get(key, key)] for key in y}
        if simple:
            return list(y) if isinstance(y, tuple) else y, [y_pred[name] for name in names]
        return y, y_pred.to_tuple()[0] if hasattr(y_pred, "to_tuple") else y_pred

    def _chosen_loss(self) -> Any:
        """The loss of the last compile(); None for the model's own.

        Keras itself keeps the loss of an earlier compile() where the last one has none.
        """
        compiled = getattr(self, "_compile_config", None)
        return None if compiled is None or compiled.config["loss"] is None else self._compile_loss

    def _goes_by_names(self) -> bool:
        """Whether compile() got losses or metrics by name."""
        loss, metrics = self._chosen_loss(), self._compile_metrics
        given = [] if loss is None else [loss._user_loss]
        if metrics is not None:
            given += [metrics._user_metrics, metrics._user_weighted_metrics]
        return any(isinstance(each, Mapping) for each in given)

    def _refuse_names(self, given: Any, kind: str) -> None:
        """Raise for losses or metrics by name where there is one output to compare."""
        if isinstance(given, Mapping) and self.architecture != "XLMForQuestionAnsweringSimple":
            raise ConfigError(
                f"compile() got {kind} by name ({', '.join(map(str, given))}): "
                f"{self.architecture} compares one output with its labels, so give {kind} "
                "without names" + (", or none for the model's own." if kind == "losses" else ".")
            )

    def prepare_tf_dataset(
        self,
        dataset: Any,
        batch_size: int = 8,
        shuffle: bool = True,
        tokenizer: Any = None,
        collate_fn: Callable[..., Any] | None = None,
        collate_fn_args: dict[str, Any] | None = None,
        drop_remainder: bool | None = None,
        prefetch: bool = True,
    ) -> tf.data.Dataset:
        """A pipeline for `fit`, as in transformers.

        Args:
            dataset: Of the library `datasets`; columns that `call` does not take are left out.
            batch_size, shuffle, prefetch: As in its `to_tf_dataset`.
            tokenizer: Its `pad` makes the rows of a batch as long as each other; None: they are.
            collate_fn, collate_fn_args: In place of that: what makes a batch of a list of rows.
            drop_remainder: Whether a last, smaller batch is left out. Default: `shuffle`.

        Returns:
            Features, or (features, labels) where the dataset has labels.
        """
        return prepare_tf_dataset(
            self.call,
            dataset,
            batch_size=batch_size,
            shuffle=shuffle,
            tokenizer=tokenizer,
            collate_fn=collate_fn,
            collate_fn_args=collate_fn_args,
            drop_remainder=drop_remainder,
            prefetch=prefetch,
        )

    # -- Keras: int8 ---------------------------------------------------------------------------

    def quantize(
        self, mode: str | None = None, config: Any = None, filters: Any = None, **options: Any
    ) -> None:
        """Keras' name for `xlm_tf.quantize`.

        Args:
            mode: "int8".
            config: `keras.quantizers.Int8QuantizationConfig()`, or the same with
                activation_quantizer=None for weights alone.
            filters, options: Keras' others, which are refused.

        Raises:
            ConfigError: For another mode or configuration, and as `xlm_tf.quantize`.
            InputError: As `xlm_tf.quantize`.
            UnknownArgumentError: For filters and options.
        """
        given = {"filters": filters, **options}
        unknown = [name for name, value in given.items() if value is not None]
        refuse_unknown_arguments("quantize", unknown, ["mode", "config"])
        kind = keras.quantizers.Int8QuantizationConfig
        known = {True: kind(), False: kind(activation_quantizer=None)}
        for activations, same in known.items():  # Keras makes a configuration of a mode
            if mode == "int8" and config.get_config() == same.get_config():
                quantize_model(self, activations=activations)
                return
        raise ConfigError(
            f"quantize() got the mode {mode!r} or settings that these models do not know: expected "
            "'int8' by Keras' defaults, or without activation_quantizer (weights alone)."
        )

    # -- Keras: saving -------------------------------------------------------------------------

    def save(self, filepath: str | os.PathLike[str], *args: Any, **options: Any) -> None:
        """Write a file, as `keras.Model.save`.

        Args:
            filepath, args, options: Keras' own.

        Raises:
            ConfigError: If embeddings and output do not go together any more.
        """
        self._check_matrices()
        super().save(filepath, *args, **options)

    def save_weights(self, filepath: str | os.PathLike[str], *args: Any, **options: Any) -> None:
        """Write the weights, as `keras.Model.save_weights`.

        Args:
            filepath, args, options: Keras' own.

        Raises:
            ConfigError: If embeddings and output do not go together any more.
        """
        self._check_matrices()
        super().save_weights(filepath, *args, **options)

    def _check_matrices(self) -> None:
        """Nothing to check here: models with embeddings say more."""

    def get_config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the model from."""
        layers = self._flatten_layers(include_self=False)
        int8 = [x for x in layers if isinstance(x, QuantizedLinear)]
        frozen = [place for place, layer in enumerate(layers) if not layer.trainable]
        return {
            **({"quantized": {"activations": int8[0].activations}} if int8 else {}),
            **({"frozen": frozen} if frozen and not int8 else {}),
            "config": self.config.to_dict(),
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any] | XLMConfig, custom_objects: Any = None, **options: Any
    ) -> Self:
        """Make a model with initial values.

        Args:
            config: An `XLMConfig` or the dictionary of one; or what `get_config` returns.
            custom_objects: Keras' own.
            options: Of the constructor, beside a configuration.
        """
        if isinstance(config, XLMConfig):
            return cls(config, **options)
        if "config" not in config:
            return cls(XLMConfig.from_dict(config), **options)
        options = {**config, **options}
        if isinstance(options.get("dtype"), dict):
            options["dtype"] = keras.saving.deserialize_keras_object(options["dtype"])
        quantized, frozen = options.pop("quantized", None), options.pop("frozen", None)
        model = cls(XLMConfig.from_dict(options.pop("config")), **options)
        if frozen is not None:  # parents come first, and set their layers too
            for place, layer in enumerate(model._flatten_layers(include_self=False)):
                layer.trainable = place not in frozen
        return model if quantized is None else quantize_model(model, **quantized)

    def __dir__(self) -> list[str]:
        """Without `base_model`: Keras' files follow every attribute that holds layers, by name."""
        return [name for name in super().__dir__() if name != "base_model"]

    def build_from_config(self, config: Any) -> None:
        """Nothing to do: constructors build."""

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",  # noqa: A002  (Keras' name)
        verbose: bool | None = None,
        input_signature: Any = None,
        **options: Any,
    ) -> None:
        """Export for serving, as `keras.Model.export`.

        A SavedModel with the default signature takes integers of 32 and of 64 bits by `serve`, and
        of each alone by the signatures "serving_default" (32) and "serving_int64".

        Args:
            filepath, format, verbose, options: Keras' own.
            input_signature: Default: a dictionary of input_ids and attention_mask (and langs,
                if the model has language embeddings), shape (batch, sequence); of an
                encoder-decoder the same of what the decoder reads as well, decoder_input_ids.
        """
        filepath = os.fspath(filepath)
        with tracing():
            if input_signature is None and format == "tf_saved_model":
                archive = keras.export.ExportArchive()
                archive.track(self)
                self._add_endpoints(archive, **options)
                archive.write_out(filepath, verbose=verbose is not False)
                return
            if input_signature is None:
                input_signature = [self._signature(tf.int32)]
            super().export(
                filepath,
                format=format,
                verbose=verbose,
                input_signature=input_signature,
                **options,
            )

    def _add_endpoints(self, archive: Any, **options: Any) -> None:
        """One graph of the model, in 64 bits, and small ones that widen what they are given."""
        wide = self._signature(tf.int64)
        graph = tf.function(self.__call__, autograph=False).get_concrete_function(wide)

        def serve(inputs: dict[str, tf.Tensor]) -> Any:
            return graph({name: tf.cast(tensor, tf.int64) for name, tensor in inputs.items()})

        archive.add_endpoint("serving_default", serve, [self._signature(tf.int32)], **options)
        archive.add_endpoint("serving_int64", serve, [wide], **options)
        any_width = tf.function(serve, autograph=False)
        for dtypes in itertools.product((tf.int32, tf.int64), repeat=len(wide)):
            kinds = zip(wide.items(), dtypes, strict=True)
            any_width.get_concrete_function(
                {name: tf.TensorSpec(spec.shape, dtype, name) for (name, spec), dtype in kinds}
            )
        archive.add_endpoint("serve", any_width, **options)

    def _signature(self, dtype: tf.DType) -> dict[str, tf.TensorSpec]:
        """The tensors of a call: any batch, any length."""
        names = ["input_ids", "attention_mask"]
        names += ["langs"] if self.config.has_lang_embeddings else []
        if self.architecture == ENCODER_DECODER:
            names += [f"decoder_{name}" for name in names]
        rank = 3 if self.architecture == "XLMForMultipleChoice" else 2
        return {name: tf.TensorSpec((None,) * rank, dtype, name) for name in names}


def _as_dictionary(features: Any) -> Any:
    """What a tokenizer returns as a dictionary; anything else as it is."""
    is_mapping = isinstance(features, Mapping) and type(features) is not dict
    return dict(features) if is_mapping else features


def _with_weights_inside(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `fit`, with weights among the features if labels are: see `_WEIGHTS`."""
    x = _as_dictionary(given.get("x"))
    weights = given.get("sample_weight")
    if given.get("y") is None and weights is not None and _holds_labels(x):
        labels = next(x[name] for name in LABEL_NAMES if name in x)
        return given | {"x": {**x, _WEIGHTS: _arrays(weights, len(labels))}, "sample_weight": None}
    return given | {"x": x}


def _arrays(weights: Any, rows: int) -> Any:
    """Weights as arrays: one, or where labels have several parts a dictionary or a tuple.

    Raises:
        InputError: If one of them has another number of rows than the labels.
    """
    if isinstance(weights, Mapping):
        return {str(name): _arrays(value, rows) for name, value in weights.items()}
    if isinstance(weights, (list, tuple)) and weights and all(map(_is_array, weights)):
        return tuple(_arrays(each, rows) for each in weights)
    array = np.asarray(weights)
    if array.ndim == 0 or len(array) != rows:
        raise InputError(
            f"sample_weight has shape {array.shape}, and there are {rows} rows of labels: expected "
            "a weight for each row."
        )
    return array


def _holds_labels(features: Any) -> bool:
    return isinstance(features, Mapping) and any(name in features for name in LABEL_NAMES)


def _labels_in(features: Any) -> dict[str, Any]:
    """Labels among the features; for the beams of spans, with what else the loss looks at."""
    if not _holds_labels(features):
        return {}
    names = (*LABEL_NAMES, "cls_index", "p_mask")
    return {name: features[name] for name in names if name in features}


def _labels_to_measure(features: Mapping[str, Any]) -> Any:
    """Labels among the features as metrics take them; None: there are none."""
    if "labels" in features:
        return tf.convert_to_tensor(features["labels"])
    names = ("start_positions", "end_positions")
    if all(name in features for name in names):
        return tuple(features[name] for name in names)
    return None


def _are_of_tokens(architecture: str, labels: Any) -> bool:
    """Whether these are labels of tokens, of which some may be -100."""
    if architecture not in TOKENS or not _is_array(labels):
        return False
    labels = tf.convert_to_tensor(labels)
    return labels.shape.rank == 2 and labels.dtype.is_integer
