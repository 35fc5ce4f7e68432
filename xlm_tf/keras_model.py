"""What makes a model at home in Keras: calls with dictionaries, training, saving, export."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, InputError, refuse_unknown_arguments
from xlm_tf.fast.rule import tracing
from xlm_tf.layers import Checkpointed
from xlm_tf.losses import IGNORED
from xlm_tf.quantization import QuantizedLinear, is_quantized
from xlm_tf.quantization import quantize as quantize_model

LABEL_NAMES = ("labels", "start_positions", "end_positions", "is_impossible")


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


_LOSS_ALONE: ContextVar[bool] = ContextVar("loss_alone", default=False)


def wants_loss_alone() -> bool:
    """Whether this call is a step of `fit` or `evaluate` that looks at the model's loss only."""
    return _LOSS_ALONE.get()


class KerasModel(Checkpointed, keras.Model):
    """A Keras model whose outputs are `xlm_core.outputs` and may hold their own loss."""

    architecture: str
    config: XLMConfig

    # -- Keras: training -----------------------------------------------------------------------

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """The model's own loss where labels are among the features; else the compiled loss.

        Raises:
            InputError: If there are no labels at all.
        """
        if y is None:
            if isinstance(y_pred, tuple):  # config.return_dict is False
                loss = y_pred[0] if _holds_labels(x) else None
            else:
                loss = y_pred.get("loss") if isinstance(y_pred, dict) else None
            if loss is None or sample_weight is not None:
                raise InputError(
                    "no loss to compute: give labels among the features (and no sample weights), "
                    "or give (features, labels) and a loss in compile()."
                )
            return keras.ops.sum([loss, *self.losses]) if self.losses else loss
        predictions = self._predictions(y_pred, y)
        return super().compute_loss(x, y, predictions, sample_weight, training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Metrics over the logits, with the labels given apart or among the features.

        Raises:
            InputError: If token labels among the features, which may be -100, would be counted by
                `metrics`; `weighted_metrics` leave them out.
        """
        results: dict[str, Any]
        if y is None and self._compile_metrics is not None and isinstance(x, Mapping):
            y, sample_weight = _labels_among(x)
            if sample_weight is not None and getattr(self._compile_metrics, "_user_metrics", None):
                raise InputError(
                    "metrics in compile() would count labels of -100, which stand for no label: "
                    "give them as weighted_metrics, which leave these out."
                )
        if y is None:
            results = self.get_metrics_result()
        else:
            if isinstance(y_pred, tuple) and _holds_labels(x):
                y_pred = y_pred[1:]  # the loss comes first
            predictions = self._predictions(y_pred, y)
            results = super().compute_metrics(x, y, predictions, sample_weight)
        return results

    def train_step(self, data: Any) -> Any:
        """One batch of `fit`.

        Raises:
            ConfigError: For an int8 model.
        """
        if is_quantized(self):
            raise ConfigError(
                "this model's matrices are int8, for inference: train it before quantize()."
            )
        with self._loss_alone(data):
            return super().train_step(data)

    def test_step(self, data: Any) -> Any:
        """One batch of `evaluate`."""
        with self._loss_alone(data):
            return super().test_step(data)

    @contextmanager
    def _loss_alone(self, data: Any) -> Iterator[None]:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        alone = y is None and _holds_labels(x) and self._compile_metrics is None
        # A loss of the user's own may look at logits.
        alone = alone and type(self).compute_loss is KerasModel.compute_loss
        token = _LOSS_ALONE.set(alone)
        try:
            yield
        finally:
            _LOSS_ALONE.reset(token)

    def predict_step(self, data: Any) -> Any:
        """One batch of `predict`; labels among the features are left aside."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, Mapping):
            x = {name: value for name, value in x.items() if name not in LABEL_NAMES}
        return super().predict_step(keras.utils.pack_x_y_sample_weight(x, y, sample_weight))

    def _predictions(self, y_pred: Any, y: Any) -> Any:
        """The part of the model's output that labels are compared with."""
        names = ("start_logits", "end_logits")
        simple = self.architecture == "XLMForQuestionAnsweringSimple"
        if isinstance(y_pred, tuple):
            return list(y_pred[:2]) if simple else y_pred[0]
        if "logits" in y_pred:
            return y_pred["logits"]
        if simple and isinstance(y, Mapping):
            # Labels may go under the names of the model's arguments.
            ends = {"start_positions": names[0], "end_positions": names[1]}
            return {key: y_pred[ends.get(key, key)] for key in y}
        if simple:
            return [y_pred[name] for name in names]
        return y_pred.to_tuple()[0] if hasattr(y_pred, "to_tuple") else y_pred

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

    def get_config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the model from."""
        int8 = [x for x in self._flatten_layers() if isinstance(x, QuantizedLinear)]
        return {
            **({"quantized": {"activations": int8[0].activations}} if int8 else {}),
            "config": self.config.to_dict(),
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Rebuild a model, without its weights, from `get_config`."""
        options = dict(config)
        if isinstance(options.get("dtype"), dict):
            options["dtype"] = keras.saving.deserialize_keras_object(options["dtype"])
        quantized = options.pop("quantized", None)
        model = cls(XLMConfig.from_dict(options.pop("config")), **options)
        return model if quantized is None else quantize_model(model, **quantized)

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

        Args:
            filepath, format, verbose, options: Keras' own.
            input_signature: Default: a dictionary of input_ids and attention_mask (and langs,
                if the model has language embeddings), int32, shape (batch, sequence).
        """
        if input_signature is None:
            names = ["input_ids", "attention_mask"]
            names += ["langs"] if self.config.has_lang_embeddings else []
            shape: tuple[None, ...] = (None, None)
            if self.architecture == "XLMForMultipleChoice":
                shape = (None, None, None)
            input_signature = [{name: tf.TensorSpec(shape, tf.int32, name=name) for name in names}]
        with tracing():
            super().export(
                os.fspath(filepath),
                format=format,
                verbose=verbose,
                input_signature=input_signature,
                **options,
            )


def _holds_labels(features: Any) -> bool:
    return isinstance(features, Mapping) and any(name in features for name in LABEL_NAMES)


def _labels_among(features: Mapping[str, Any]) -> tuple[Any, Any]:
    """Labels for metrics, and weights that leave out those of -100."""
    if "labels" in features:
        labels = tf.convert_to_tensor(features["labels"])
        if labels.dtype.is_floating or labels.dtype == tf.bool or labels.shape.rank != 2:
            return labels, None
        counted = labels != IGNORED
        return tf.where(counted, labels, 0), tf.cast(counted, tf.float32)
    names = ("start_positions", "end_positions")
    if all(name in features for name in names):
        return [features[name] for name in names], None
    return None, None
