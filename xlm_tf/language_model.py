"""The language-model head: `XLMWithLMHeadModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from xlm_core.changes import check_new_output, check_output
from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, InputError
from xlm_tf.adaptive_softmax import AdaptiveLogSoftmax, TailCluster
from xlm_tf.fast.embedding import share
from xlm_tf.fast.graphs import compiled
from xlm_tf.fast.rule import are_traced, are_unmodified, code_of
from xlm_tf.fast.unpadding import gather_rows
from xlm_tf.fast.vocabulary_loss import linear_cross_entropy, may_keep_logits
from xlm_tf.generation import Beginning, GenerationMixin, of_language_model
from xlm_tf.heads import TFXLMModelWithHead
from xlm_tf.inputs import check_labels
from xlm_tf.keras_model import model_call, wants_logits_too, wants_loss_alone
from xlm_tf.layers import Linear, ParameterLayer, shape_of
from xlm_tf.losses import (
    IGNORED,
    cross_entropy,
    negative_log_likelihood,
)
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
        rows = tf.matmul(rows, tf.cast(matrix, x.dtype), transpose_b=True)
        rows = tf.nn.bias_add(rows, self.bias)
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

    def loss_of(
        self,
        hidden: tf.Tensor,
        labels: tf.Tensor,
        scores: tf.Tensor | None = None,
        matrix: tf.Tensor | None = None,
        *,
        keeps_logits: bool = False,
    ) -> tf.Tensor:
        """`loss(self(hidden), labels)`, where possible without the scores that do not count.

        Args:
            hidden: float, shape (..., hidden).
            labels: integer, shape (...).
            scores: self(hidden), if known.
            matrix: float, shape (vocabulary, hidden): the word embeddings, for a tied output.
            keeps_logits: As in `linear_cross_entropy`.
        """
        if not self.picks_labelled():
            return self.loss(self(hidden, matrix) if scores is None else scores, labels)
        hidden = tf.reshape(hidden, (-1, hidden.shape[-1]))
        labels = tf.reshape(labels, (-1,))
        counted = tf.cast(tf.where(labels != IGNORED)[:, 0], tf.int32)
        hidden, labels = gather_rows(hidden, counted), tf.gather(labels, counted)
        if self.asm:
            return self.loss(self.proj(hidden), labels)
        if isinstance(self.proj, Linear):
            matrix = tf.transpose(tf.convert_to_tensor(self.proj.kernel))
        matrix = tf.cast(matrix, hidden.dtype)
        bias = tf.cast(tf.convert_to_tensor(self.proj.bias), hidden.dtype)
        return linear_cross_entropy(hidden, matrix, bias, labels, keeps_logits=keeps_logits)

    def picks_labelled(self) -> bool:
        """Whether `loss_of` computes labelled rows only; XLA and exports cannot."""
        return are_unmodified(self._flatten_layers(), _CODE) and not are_traced()


_CODE = code_of(XLMPredLayer, AdaptiveLogSoftmax, TailCluster, TiedLinear, Linear)


class TFWithOutputLayer(TFXLMPreTrainedModel):
    """Base of what has an output layer beside word embeddings, to which it may be tied.

    Attributes:
        pred_layer: The output layer.
    """

    pred_layer: XLMPredLayer

    def _add_output(self, config: XLMConfig) -> None:
        """Make the output layer."""
        self.pred_layer = XLMPredLayer(config, name="pred_layer", dtype=self.dtype_policy)

    def _scored(
        self,
        hidden: tf.Tensor,
        labels: tf.Tensor | None,
        matrix: tf.Tensor | None,
        *,
        wants_logits: bool,
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Loss and logits of last hidden states, as far as asked for.

        Args:
            hidden: float, shape (batch, new, hidden).
            labels: integer, shape (batch, new), or None.
            matrix: The word embeddings where they share a gradient with the output.
            wants_logits: Whether logits are asked for.
        """
        if matrix is None and isinstance(self.pred_layer.proj, TiedLinear):
            matrix = tf.convert_to_tensor(self.base_model.embeddings.embeddings)
        scored: tuple[tf.Tensor | None, tf.Tensor | None] = compiled(
            self,
            "_score",
            {"hidden": hidden, "labels": labels, "matrix": matrix},
            wants_logits=wants_logits,
            keeps_logits=may_keep_logits(
                hidden.shape[:2].num_elements(), self.config.vocab_size, hidden.dtype
            ),
        )
        return scored

    def _score(
        self,
        tensors: Mapping[str, tf.Tensor | None],
        *,
        wants_logits: bool,
        keeps_logits: bool,
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Loss and logits, as far as asked for.

        Args:
            tensors: hidden, labels and the matrix of the word embeddings.
            wants_logits: Whether logits are asked for.
            keeps_logits: As in `linear_cross_entropy`.
        """
        hidden, labels, matrix = (tensors[name] for name in ("hidden", "labels", "matrix"))
        logits = self.pred_layer(hidden, matrix) if wants_logits else None
        loss = None
        if labels is not None:
            loss = self.pred_layer.loss_of(
                hidden, labels, logits, matrix, keeps_logits=keeps_logits
            )
        return loss, logits

    def _labelled(self, labels: tf.Tensor | None) -> tf.Tensor | None:
        """The positions that the loss alone looks at, as `output_positions`; None: all."""
        if (
            labels is None or not tf.is_tensor(labels) or labels.dtype == tf.bool
        ):  # which is refused later
            return None
        return labels != IGNORED if self.pred_layer.picks_labelled() else None

    def _shared_matrix(self, labels: tf.Tensor | None) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """The output's matrix and the word embeddings' as two that share a gradient.

        Both None where no gradient may come of it.
        """
        if (
            labels is not None
            and not tf.executing_eagerly()
            and isinstance(self.pred_layer.proj, TiedLinear)
            and self.pred_layer.picks_labelled()
        ):
            return share(tf.convert_to_tensor(self.base_model.embeddings.embeddings))
        return None, None

    def _check_matrices(self) -> None:
        """Raise `ConfigError` if the output does not go with the word embeddings any more."""
        super()._check_matrices()
        output = self.pred_layer.proj
        if isinstance(output, AdaptiveLogSoftmax):
            check_output(self.config, output.cutoffs[-1], is_embeddings=True)
        elif isinstance(output, (TiedLinear, Linear)):
            check_output(
                self.config, output.bias.shape[0], is_embeddings=self._multiplies_embeddings()
            )

    def _multiplies_embeddings(self) -> bool:
        """Whether the output's matrix is the word embeddings', where the two are to be tied.

        Raises:
            ConfigError: If it is to be, and there is no such matrix.
        """
        embeddings = self.base_model.embeddings
        if not isinstance(self.pred_layer.proj, TiedLinear):
            if self.config.ties_output:
                raise ConfigError(
                    "tie_word_embeddings is True, but this model was made with an output matrix "
                    "of its own: set config.tie_word_embeddings = False, or make or open it again."
                )
            return True
        if getattr(embeddings, "embeddings", None) is None:
            raise ConfigError(
                f"the word embeddings are a {type(embeddings).__name__} without embeddings, the "
                "matrix that the output is tied to: give such a layer, or inputs_embeds."
            )
        return True

    def get_output_embeddings(self) -> keras.layers.Layer:
        """The output projection."""
        return self.pred_layer.proj

    def set_output_embeddings(self, value: Any) -> None:
        """Replace the values of the output projection.

        Args:
            value: A layer with kernel, shape (hidden, vocabulary), and perhaps bias.

        Raises:
            ConfigError: If the matrix is to be that of the word embeddings, and is not; or has
                another shape than these.
        """
        proj = self.pred_layer.proj
        is_same = value is proj or value is self.base_model.embeddings
        kernel = getattr(value, "kernel", None)
        shape = None if kernel is None else tuple(kernel.shape)[::-1]
        check_new_output(self.config, shape, is_embeddings=is_same)
        if is_same:
            return
        if kernel is None or not isinstance(proj, Linear):
            raise ConfigError(
                f"the new output is a {type(value).__name__}, and its kernel is to be taken by a "
                f"{type(proj).__name__}: expected a built layer such as keras.layers.Dense."
            )
        bias = getattr(value, "bias", None)
        proj.kernel.assign(kernel)
        proj.bias.assign(tf.zeros(proj.bias.shape, proj.bias.dtype) if bias is None else bias)


@keras.saving.register_keras_serializable(package="xlm_models")
class TFXLMWithLMHeadModel(GenerationMixin, TFWithOutputLayer, TFXLMModelWithHead):
    """XLM with its language-model head, for masked and for causal language modelling.

    Attributes:
        output_logits: Whether calls with labels return logits beside the loss, unless they say.
    """

    architecture = "XLMWithLMHeadModel"
    output_logits: bool = True

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self._add_output(config)
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
        *,
        output_logits: bool | None = None,
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
            output_logits: False, with labels: the loss alone, which then costs neither the time
                nor the memory of logits for every position. Default: the model's; in `fit` and
                `evaluate`, whether a metric wants them.

        Returns:
            `MaskedLMOutput`, or with return_dict=False the tuple of what it holds.
        """
        self._check_matrices()
        if labels is None and output_logits is False:
            raise InputError("output_logits is False, and there are no labels to give a loss for.")
        if output_logits is None:
            output_logits = wants_logits_too() or (self.output_logits and not wants_loss_alone())
        looks_at_labels = labels is not None and not output_logits
        output_matrix, embedding_matrix = self._shared_matrix(labels)
        encoded = self.encode(
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
            head_mask, inputs_embeds, output_attentions, output_hidden_states, unknown,
            output_positions=self._labelled(labels) if looks_at_labels else None,
            embedding_matrix=embedding_matrix,
            training=training,
        )  # fmt: skip
        hidden = encoded.last_hidden_state
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
        wants_logits = labels is None or output_logits
        loss, logits = self._scored(hidden, labels, output_matrix, wants_logits=wants_logits)
        output = MaskedLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return self.in_asked_form(output, return_dict)

    def _beginning(self, given: Mapping[str, Any]) -> Beginning:
        steps = are_unmodified((self.base_model,), self.encoder_code)
        return of_language_model(self, given, steps=steps)
