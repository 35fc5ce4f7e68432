"""The forward passes that texts need, from arrays to arrays; see `xlm_core.texts.forward`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError
from xlm_core.texts.forward import Array, Batch, Kind
from xlm_core.weights import ENCODER_DECODER
from xlm_tf.language_model import TFXLMWithLMHeadModel, TiedLinear, XLMPredLayer
from xlm_tf.pretrained import TFXLMPreTrainedModel

# Logits that are held at a time where only those of given tokens are wanted.
_HELD_LOGITS = 2**24


class TextForward:
    """The forward passes of one model, without dropout.

    Args:
        model: An encoder or a model with a head.

    Raises:
        InputError: For anything else.
    """

    def __init__(self, model: TFXLMPreTrainedModel) -> None:
        if not isinstance(model, TFXLMPreTrainedModel):
            raise InputError(
                f"model is a {type(model).__name__}: expected one of this library, such as "
                "TFXLMWithLMHeadModel.from_pretrained(folder)."
            )
        self.model: Any = model

    @property
    def config(self) -> XLMConfig:
        """The model's."""
        config: XLMConfig = self.model.config
        return config

    @property
    def name(self) -> str:
        """Name of the model's class."""
        return type(self.model).__name__

    @property
    def kind(self) -> Kind | None:
        """What its output layer predicts; None without one."""
        if self._has_decoder:
            return "translation"
        if not isinstance(self.model, TFXLMWithLMHeadModel):
            return None
        return "causal" if self.config.causal else "masked"

    @property
    def layers(self) -> int:
        """How many the encoder has."""
        layers: int = self._encoder.config.n_layers
        return layers

    @property
    def _has_decoder(self) -> bool:
        return bool(self.model.architecture == ENCODER_DECODER)

    @property
    def _encoder(self) -> Any:
        return self.model.encoder if self._has_decoder else self.model.base_model

    def hidden_states(
        self, batch: Batch, *, layer: int, positions: Array | int | None = None
    ) -> Array:
        """See `xlm_core.texts.forward.Forward`."""
        is_last = layer == self.layers
        requests: dict[str, Any] = {}
        if is_last and positions is not None:
            requests["output_positions"] = (
                tf.constant(positions) if isinstance(positions, np.ndarray) else positions
            )
        output = self._encoder(
            **self._inputs(batch),
            output_hidden_states=not is_last,
            return_dict=True,
            training=False,
            **requests,
        )
        return _array(output.last_hidden_state if is_last else output.hidden_states[layer])

    def log_probs(self, batch: Batch, positions: Array) -> Array:
        """See `xlm_core.texts.forward.Forward`."""
        rows, output, matrix = self._predicting(batch, positions)
        scores = _at_least_float32(output(rows, matrix))
        return _array(scores if output.asm else tf.nn.log_softmax(scores))

    def token_log_probs(
        self, batch: Batch, positions: Array, tokens: Array, source: Batch | None = None
    ) -> Array:
        """See `xlm_core.texts.forward.Forward`."""
        rows, output, matrix = self._predicting(batch, positions, source)
        count = max(1, _HELD_LOGITS // self.config.vocab_size)
        parts = [
            _scores_of(rows[start : start + count], tokens[start : start + count], output, matrix)
            for start in range(0, len(tokens), count)
        ]
        return _array(tf.concat(parts, axis=0))

    def _predicting(
        self, batch: Batch, positions: Array, source: Batch | None = None
    ) -> tuple[tf.Tensor, XLMPredLayer, tf.Tensor | None]:
        """The hidden states that predict, float, shape (predictions, hidden), and the layer.

        The third is the matrix of the word embeddings, for a tied output.
        """
        where = tf.constant(positions)
        given = self._inputs(batch)
        if source is not None:
            sources = self._inputs(source)
            encoded = self._encoder(**sources, return_dict=True, training=False)
            decoder = self.model.decoder
            decoded = decoder(
                **given,
                encoder_hidden_states=encoded.last_hidden_state,
                encoder_attention_mask=sources["attention_mask"],
                return_dict=True,
                training=False,
            )
            rows = tf.boolean_mask(decoded.last_hidden_state, where)
            return rows, decoder.pred_layer, _tied_matrix(decoder.pred_layer, decoder)
        encoded = self.model.encode(
            given["input_ids"], given["attention_mask"], given["langs"],
            *[None] * 8, {}, output_positions=where, training=False,
        )  # fmt: skip
        output = self.model.pred_layer
        rows = tf.boolean_mask(encoded.last_hidden_state, where)
        return rows, output, _tied_matrix(output, self._encoder)

    def _inputs(self, batch: Batch) -> dict[str, tf.Tensor | None]:
        return {
            "input_ids": tf.constant(batch.input_ids),
            "attention_mask": tf.constant(batch.attention_mask),
            "langs": None if batch.langs is None else tf.constant(batch.langs),
        }


def _tied_matrix(output: XLMPredLayer, encoder: Any) -> tf.Tensor | None:
    """The matrix of the word embeddings, where the output layer has none of its own."""
    if not isinstance(output.proj, TiedLinear):
        return None
    return tf.convert_to_tensor(encoder.embeddings.embeddings)


def _scores_of(
    rows: tf.Tensor, tokens: Array, output: XLMPredLayer, matrix: tf.Tensor | None
) -> tf.Tensor:
    """Log-probabilities of the tokens, shape (rows,)."""
    scores = _at_least_float32(output(rows, matrix))
    chosen = tf.gather(scores, tokens, batch_dims=1)
    return chosen if output.asm else chosen - tf.reduce_logsumexp(scores, axis=-1)


def _at_least_float32(scores: tf.Tensor) -> tf.Tensor:
    return scores if scores.dtype == tf.float64 else tf.cast(scores, tf.float32)


def _array(tensor: tf.Tensor) -> Array:
    array: Array = _at_least_float32(tensor).numpy()
    return array
