"""The language-model head: `XLMWithLMHeadModel`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError
from xlm_torch.adaptive_softmax import AdaptiveLogSoftmax
from xlm_torch.fast.linear import (
    are_plain,
    are_traced,
    as_written,
    only_looks_up,
    recycled,
    shared_matrix,
)
from xlm_torch.inputs import check_labels
from xlm_torch.losses import (
    IGNORED,
    cross_entropy,
    linear_cross_entropy,
    negative_log_likelihood,
)
from xlm_torch.model import XLMModel, only
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
            matrix: Stands for the matrix of the projection, see `shared_matrix`.
        """
        if not self.picks_rows(hidden):
            return self.loss(self(hidden) if scores is None else scores, labels)
        hidden, labels = hidden.flatten(0, -2), labels.flatten()
        counted = (labels != IGNORED).nonzero().squeeze(1)
        hidden, labels = hidden.index_select(0, counted), labels.index_select(0, counted).long()
        if self.asm:
            return self.loss(self.proj(hidden), labels)
        matrix = self.proj.weight if matrix is None else matrix
        return linear_cross_entropy(hidden, matrix, self.proj.bias, labels, recycled(self))

    def picks_rows(self, hidden: Tensor) -> bool:
        """Whether `loss_of` computes labelled rows only; what is traced has no say in its shapes.

        Args:
            hidden: As `loss_of` gets, or any parameter of the model.
        """
        return (
            are_plain(self.modules(), _OWN_MODULES)
            and not are_traced(hidden, *self.parameters())
            and not torch.is_autocast_enabled(hidden.device.type)
            and not (hidden.is_cuda and torch.cuda.is_current_stream_capturing())
        )


_OWN_MODULES = as_written(XLMPredLayer, AdaptiveLogSoftmax, nn.Linear, nn.ModuleList, nn.Sequential)


class XLMWithLMHeadModel(XLMPreTrainedModel):
    """XLM with its language-model head, for masked and for causal language modelling.

    Attributes:
        output_logits: Whether calls with labels return logits beside the loss, unless they say.
    """

    architecture = "XLMWithLMHeadModel"
    output_logits: bool = True

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.transformer = XLMModel(config)
        self.pred_layer = XLMPredLayer(config)
        self.post_init()

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
        if unknown:
            self.refuse(unknown)
        if labels is None and output_logits is False:
            raise InputError("output_logits is False, and there are no labels to give a loss for.")
        if output_logits is None:
            output_logits = self.output_logits
        wanted = None if output_logits or labels is None else self._labelled(labels)
        with self._sharing(labels) as matrix, only(self.transformer, wanted):
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
            )
        hidden = encoded.last_hidden_state
        loss = None
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
        logits = self.pred_layer(hidden) if labels is None or output_logits else None
        if labels is not None:
            loss = self.pred_layer.loss_of(hidden, labels, logits, matrix)
        output = MaskedLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return_dict = self.config.use_return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def _labelled(self, labels: Tensor) -> Tensor | None:
        """Which positions the loss alone looks at, of `wanted_rows`; None: all."""
        weight = self.transformer.embeddings.weight
        picks = isinstance(labels, Tensor) and self.pred_layer.picks_rows(weight)
        return labels != IGNORED if picks else None  # what is no tensor is refused later

    def _sharing(self, labels: Tensor | None) -> AbstractContextManager[Tensor | None]:
        """`shared_matrix` of the output and the word embeddings, if a gradient may come of it."""
        weight = self.transformer.embeddings.weight
        if (
            labels is not None
            and torch.is_grad_enabled()
            and self.pred_layer.picks_rows(weight)
            and only_looks_up(self.transformer.embeddings)
            and getattr(self.pred_layer.proj, "weight", None) is weight
            and weight.requires_grad
        ):
            return shared_matrix(weight)
        return nullcontext()

    def tie_weights(self) -> None:
        """Make the output matrix the word embedding, if config.tie_word_embeddings says so."""
        if self.config.ties_output:
            self.pred_layer.proj.weight = self.transformer.embeddings.weight

    def get_output_embeddings(self) -> nn.Module:
        """The output projection."""
        return self.pred_layer.proj

    def _sizes_changed(self) -> None:
        super()._sizes_changed()
        if isinstance(self.pred_layer.proj, nn.Linear):
            self.pred_layer.proj.out_features = self.config.vocab_size
