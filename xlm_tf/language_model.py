"""The language-model head: `XLMWithLMHeadModel`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_tf.adaptive_softmax import AdaptiveLogSoftmax
from xlm_tf.inputs import check_labels
from xlm_tf.keras_model import model_call
from xlm_tf.layers import Linear, ParameterLayer, shape_of
from xlm_tf.losses import cross_entropy, negative_log_likelihood
from xlm_tf.model import TFXLMModel
from xlm_tf.outputs import MaskedLMOutput
from xlm_tf.pretrained import TFXLMPreTrainedModel


class TiedLinear(ParameterLayer):
    """A projection whose matrix is handed in: it holds the bias only.

    Attributes:
        bias: float, shape (outputs,).
    """

    def __init__(self, outputs: int, **options: Any) -> None:
        super().__init__(**options)
        self._first_outputs = outputs

    def build(self, input_shape: Any = None) -> None:
        """Make the variable."""
        self.create("bias", (self._first_outputs,))

    def call(self, x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        """x, shape (..., inputs), and matrix, shape (outputs, inputs), to (..., outputs)."""
        rows = tf.reshape(x, (-1, x.shape[-1]))
        rows = tf.matmul(rows, tf.cast(matrix, x.dtype), transpose_b=True) + self.bias
        return tf.reshape(rows, (*shape_of(x)[:-1], self.bias.shape[0]))


class XLMPredLayer(keras.layers.Layer):
    """Hidden states to logits, or to log-probabilities with an adaptive softmax."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        self.asm = config.asm
        policy = self.dtype_policy
        self.proj: AdaptiveLogSoftmax | TiedLinear | Linear
        if config.asm:
            self.proj = AdaptiveLogSoftmax(config, name="proj", dtype=policy)
        elif config.ties_output:
            self.proj = TiedLinear(config.vocab_size, name="proj", dtype=policy)
        else:
            self.proj = Linear(config.emb_dim, config.vocab_size, name="proj", dtype=policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.proj.build()

    def call(self, hidden: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
        """Score the vocabulary.

        Args:
            hidden: float, shape (..., hidden).
            embeddings: float, shape (vocabulary, hidden): the word embeddings, for a tied output.

        Returns:
            float, shape (..., vocabulary).
        """
        if isinstance(self.proj, TiedLinear):
            return self.proj(hidden, embeddings)
        return self.proj(hidden)

    def loss(self, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Mean over the labels that are not -100; scores as `call` returns them."""
        return (negative_log_likelihood if self.asm else cross_entropy)(scores, labels)


@keras.saving.register_keras_serializable(package="xlm_models")
class TFXLMWithLMHeadModel(TFXLMPreTrainedModel):
    """XLM with its language-model head, for masked and for causal language modelling."""

    architecture = "XLMWithLMHeadModel"

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(config, **options)
        with keras.name_scope(self.name):
            self.transformer = TFXLMModel(config, **self.encoder_options())
        self.pred_layer = XLMPredLayer(config, name="pred_layer", dtype=self.dtype_policy)
        self.post_init()

    @model_call
    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        langs: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        lengths: tf.Tensor | None = None,
        cache: Any = None,
        head_mask: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        labels: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool | None = None,
        **unknown: Any,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Predict tokens.

        Args:
            labels: integer, shape (batch, new): the token that the logits at this position should
                name; -100 does not count. Nothing is shifted here, for causal models neither:
                give the next token as the label.
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, return_dict,
                training: As in `TFXLMModel.call`.

        Returns:
            `MaskedLMOutput`, or with return_dict=False the tuple of what it holds.
        """
        if unknown:
            self.refuse(unknown)
        encoded = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            langs=langs,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            lengths=lengths,
            cache=cache,
            head_mask=head_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            training=training,
        )
        hidden = encoded.last_hidden_state
        loss = None
        if labels is not None:
            labels = check_labels(
                self,
                "labels",
                labels,
                (hidden.shape[0], hidden.shape[1]),
                "(batch, sequence)",
                limit=self.config.vocab_size,
                rule="the vocabulary, or -100 where nothing is to be predicted",
            )
        embeddings = tf.convert_to_tensor(self.transformer.embeddings.embeddings)
        logits = self.pred_layer(hidden, embeddings)
        if labels is not None:
            loss = self.pred_layer.loss(logits, labels)
        output = MaskedLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return_dict = self.config.use_return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def get_output_embeddings(self) -> keras.layers.Layer:
        """The output projection."""
        return self.pred_layer.proj
