"""The language-model head: `XLMWithLMHeadModel`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_torch.adaptive_softmax import AdaptiveLogSoftmax
from xlm_torch.inputs import check_labels
from xlm_torch.losses import cross_entropy, negative_log_likelihood
from xlm_torch.model import XLMModel
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


class XLMWithLMHeadModel(XLMPreTrainedModel):
    """XLM with its language-model head, for masked and for causal language modelling."""

    architecture = "XLMWithLMHeadModel"

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
        logits = self.pred_layer(hidden)
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
