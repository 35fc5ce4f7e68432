"""The language-model head: `XLMWithLMHeadModel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from xlm_core.changes import check_new_output, check_output
from xlm_core.config import XLMConfig
from xlm_core.errors import InputError
from xlm_torch.adaptive_softmax import AdaptiveLogSoftmax
from xlm_torch.fast.embedding import only_looks_up, share
from xlm_torch.fast.memory import memory_of
from xlm_torch.fast.rule import are_traced, are_unmodified, code_of
from xlm_torch.fast.vocabulary_loss import linear_cross_entropy
from xlm_torch.generation import Beginning, GenerationMixin, of_language_model
from xlm_torch.heads import XLMModelWithHead
from xlm_torch.inputs import check_labels
from xlm_torch.losses import (
    IGNORED,
    cross_entropy,
    negative_log_likelihood,
)
from xlm_torch.outputs import MaskedLMOutput
from xlm_torch.pretrained import XLMPreTrainedModel


class XLMPredLayer(nn.Module):
    """Hidden states to logits, or to log-probabilities with an adaptive softmax."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.asm = config.asm
        self.proj: AdaptiveLogSoftmax | nn.Linear
        if config.asm:
            self.proj = AdaptiveLogSoftmax(config)
        else:
            self.proj = nn.Linear(config.emb_dim, config.vocab_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """float, shape (..., hidden), to float, shape (..., vocabulary)."""
        scores: Tensor = self.proj(hidden)
        return scores

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean over the labels that are not -100; scores as `forward` returns them."""
        return (negative_log_likelihood if self.asm else cross_entropy)(scores, labels)

    def loss_of(
        self,
        hidden: Tensor,
        labels: Tensor,
        scores: Tensor | None = None,
        matrix: Tensor | None = None,
    ) -> Tensor:
        """`loss(self(hidden), labels)`, where possible without the scores that do not count.

        Args:
            hidden: float, shape (..., hidden).
            labels: integer, shape (...).
            scores: self(hidden), if known.
            matrix: Stands for the matrix of the projection, see `xlm_torch.fast.embedding.share`.
        """
        if not self.picks_labelled(hidden):
            return self.loss(self(hidden) if scores is None else scores, labels)
        hidden, labels = hidden.flatten(0, -2), labels.flatten()
        counted = (labels != IGNORED).nonzero().squeeze(1)
        hidden, labels = hidden.index_select(0, counted), labels.index_select(0, counted).long()
        if self.asm:
            return self.loss(self.proj(hidden), labels)
        proj = cast(nn.Linear, self.proj)
        matrix = proj.weight if matrix is None else matrix
        device = hidden.device.type
        bias = cast(Tensor | None, proj.bias)
        if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
            # As autocast does with the product; logits and loss are in float32.
            half = torch.get_autocast_dtype(device)
            hidden, matrix = hidden.to(half), matrix.to(half)
            bias = None if bias is None else bias.to(half)
        with torch.autocast(device, enabled=False):
            return linear_cross_entropy(hidden, matrix, bias, labels, memory_of(self))

    def picks_labelled(self, hidden: Tensor) -> bool:
        """Whether `loss_of` computes labelled rows only; what is traced has no say in its shapes.

        Args:
            hidden: As `loss_of` gets, or any parameter of the model.
        """
        return (
            are_unmodified(self.modules(), _CODE)
            and not are_traced(hidden, *self.parameters())
            and not (hidden.is_cuda and torch.cuda.is_current_stream_capturing())
        )


_CODE = code_of(XLMPredLayer, AdaptiveLogSoftmax, nn.Linear, nn.ModuleList, nn.Sequential)


def _tie_again(model: Any, _: Any) -> None:
    # After `load_state_dict(assign=True)`, each name has a parameter of its own.
    model.tie_weights()


class WithOutputLayer(XLMPreTrainedModel):
    """Base of what has an output layer beside word embeddings, to which it may be tied.

    Attributes:
        pred_layer: The output layer.
    """

    pred_layer: XLMPredLayer
    _tied_matrix: Any = None  # what `tie_weights` made the output's, to see whether it still is

    def _add_output(self, config: XLMConfig) -> None:
        """Make the output layer."""
        self.pred_layer = XLMPredLayer(config)
        self.register_load_state_dict_post_hook(_tie_again)

    def _scored(
        self,
        hidden: Tensor,
        labels: Tensor | None,
        matrix: Tensor | None,
        *,
        wants_logits: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Loss and logits of last hidden states, as far as asked for.

        Args:
            hidden: float, shape (batch, new, hidden).
            labels: int64, shape (batch, new), or None.
            matrix: The word embeddings where they share a gradient with the output.
            wants_logits: Whether logits are asked for.
        """
        logits = self.pred_layer(hidden) if wants_logits else None
        if labels is None:
            return None, logits
        return self.pred_layer.loss_of(hidden, labels, logits, matrix), logits

    def _labelled(self, labels: Tensor | None) -> Tensor | None:
        """The positions that the loss alone looks at, as `output_positions`; None: all."""
        if not isinstance(labels, Tensor):  # which is refused later
            return None
        picks = self.pred_layer.picks_labelled(next(self.pred_layer.parameters()))
        return labels != IGNORED if picks else None

    def _shared_matrix(self, labels: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """The output's matrix and the word embeddings' as two that share a gradient.

        Both None where no gradient may come of it.
        """
        embeddings: nn.Embedding = self.base_model.embeddings
        if (
            labels is not None
            and torch.is_grad_enabled()
            and only_looks_up(embeddings)
            and self.pred_layer.picks_labelled(weight := embeddings.weight)
            and getattr(self.pred_layer.proj, "weight", None) is weight
            and weight.requires_grad
        ):
            return share(weight)
        return None, None

    def _check_matrices(self) -> None:
        """Raise `ConfigError` if the output does not go with the word embeddings any more."""
        super()._check_matrices()
        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            return
        output = self.pred_layer.proj
        if isinstance(output, AdaptiveLogSoftmax):
            check_output(self.config, output.cutoffs[-1], is_embeddings=True)
        elif isinstance(output, nn.Linear) and output.weight.dim() == 2:
            check_output(
                self.config, output.weight.shape[0], is_embeddings=self._multiplies_embeddings()
            )

    def _multiplies_embeddings(self) -> bool:
        """Whether the output's matrix is the word embeddings', as far as can be seen.

        Modules that tools put in the place of either, what tracers give to both, and an output
        that was given a matrix of its own beside the same embeddings, are taken as they are.
        """
        embeddings, output = self.base_model.embeddings, self.pred_layer.proj
        if not (isinstance(embeddings, nn.Embedding) and isinstance(output, nn.Linear)):
            return True
        looked_up = embeddings._parameters.get("weight")
        multiplied = output._parameters.get("weight")
        if looked_up is multiplied or looked_up is None or multiplied is None:
            return True
        return looked_up is self._tied_matrix or are_traced(looked_up, multiplied)

    def tie_weights(self) -> None:
        """Make the output matrix the word embedding, if config.tie_word_embeddings says so."""
        if self.config.ties_output:
            layer = self.pred_layer
            output = layer.proj if isinstance(layer, XLMPredLayer) else layer
            weight = self.base_model.embeddings._parameters.get("weight")
            # Else a tool's module stands there, with a matrix of its own or around the tied one.
            if weight is not None and "weight" in output._parameters:
                cast(nn.Linear, output).weight = weight
                self.__dict__["_tied_matrix"] = weight  # no parameter of its own

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `.to("meta")`, `.to_empty()` and the like give each name a parameter of its own.
        output, matrix = self.pred_layer.proj, self._tied_matrix
        was_tied = matrix is not None and getattr(output, "weight", None) is matrix
        super()._apply(function, recurse)
        if was_tied:
            self.tie_weights()
        return self

    def get_output_embeddings(self) -> nn.Module:
        """The output projection."""
        return self.pred_layer.proj

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the output projection.

        Args:
            value: Maps (..., hidden) to (..., vocabulary), as `nn.Linear(hidden, vocabulary)` does.

        Raises:
            ConfigError: If the matrix is to be that of the word embeddings, and is not; or has
                another shape than these.
        """
        check_new_output(
            self.config,
            tuple(weight.shape) if (weight := getattr(value, "weight", None)) is not None else None,
            is_embeddings=weight is getattr(self.base_model.embeddings, "weight", None),
        )
        self.pred_layer.proj = cast(nn.Linear, value)

    def _sizes_changed(self) -> None:
        super()._sizes_changed()
        if isinstance(self.pred_layer.proj, nn.Linear):
            self.pred_layer.proj.out_features = self.config.vocab_size


class XLMWithLMHeadModel(GenerationMixin, WithOutputLayer, XLMModelWithHead):
    """XLM with its language-model head, for masked and for causal language modelling.

    Attributes:
        output_logits: Whether calls with labels return logits beside the loss, unless they say.
    """

    architecture = "XLMWithLMHeadModel"
    output_logits: bool = True
    _tied_weights_keys: ClassVar[Any] = ["pred_layer.proj.weight"]

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self._add_output(config)
        self.post_init()

    def _get_name(self) -> str:
        # transformers' Trainer shifts the labels that it smooths (label_smoothing_factor) if this
        # is "XLMWithLMHeadModel", of masked models too. Here labels are never shifted.
        return f"xlm_torch.{super()._get_name()}"

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        langs: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        lengths: Tensor | None = None,
        cache: Any = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        output_logits: bool | None = None,
        **unknown: Any,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Predict tokens.

        Args:
            labels: int64, shape (batch, new): the token that the logits at this position should
                name; -100 does not count. Nothing is shifted here, for causal models neither:
                give the next token as the label.
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, return_dict:
                As in `XLMModel.forward`.
            output_logits: False, with labels: the loss alone, which then costs neither the time
                nor the memory of logits for every position. Default: the model's.

        Returns:
            `MaskedLMOutput`, or with return_dict=False the tuple of what it holds.
        """
        self._check_matrices()
        if labels is None and output_logits is False:
            raise InputError("output_logits is False, and there are no labels to give a loss for.")
        if output_logits is None:
            output_logits = self.output_logits
        looks_at_labels = labels is not None and not output_logits
        output_matrix, embedding_matrix = self._shared_matrix(labels)
        encoded = self.encode(
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
            head_mask, inputs_embeds, output_attentions, output_hidden_states, unknown,
            output_positions=self._labelled(labels) if looks_at_labels else None,
            embedding_matrix=embedding_matrix,
        )  # fmt: skip
        hidden = encoded.last_hidden_state
        if labels is not None:
            labels = check_labels(
                self,
                "labels",
                labels,
                tuple(hidden.shape[:2]),
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
