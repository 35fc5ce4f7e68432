"""Heads that answer questions with a span of the text."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_core.heads import both_or_neither
from xlm_core.inputs import DtypeKind
from xlm_torch.heads import XLMModelWithHead
from xlm_torch.inputs import check_flags, check_labels, values_are_visible
from xlm_torch.losses import cross_entropy
from xlm_torch.outputs import QuestionAnsweringModelOutput, XLMForQuestionAnsweringOutput
from xlm_torch.squad_head import SQuADHead


class XLMForQuestionAnsweringSimple(XLMModelWithHead):
    """XLM with a start logit and an end logit for every token."""

    architecture = "XLMForQuestionAnsweringSimple"

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.emb_dim, config.num_labels)
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
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **unknown: Any,
    ) -> QuestionAnsweringModelOutput | tuple[Any, ...]:
        """Find the span.

        Args:
            start_positions, end_positions: int64, shape (batch,): the first and the last token
                of the answer; beyond the sequence, the row does not count; below 0, it is 0.
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, return_dict:
                As in `XLMModel.forward`.

        Returns:
            `QuestionAnsweringModelOutput`, or with return_dict=False the tuple of what it holds.
        """
        with_loss = both_or_neither(start_positions, end_positions)
        encoded = self.encode(
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
            head_mask, inputs_embeds, output_attentions, output_hidden_states, unknown,
        )  # fmt: skip
        start_logits, end_logits = self.qa_outputs(encoded.last_hidden_state).unbind(-1)
        loss = None
        if with_loss:
            batch, sequence = start_logits.shape
            losses = []
            for name, logits, positions in (
                ("start_positions", start_logits, start_positions),
                ("end_positions", end_logits, end_positions),
            ):
                assert positions is not None
                positions = check_labels(self, name, positions, (batch,), "(batch,)")
                positions = positions.clamp(0, sequence)
                losses.append(cross_entropy(logits, positions, ignored=sequence))
            loss = (losses[0] + losses[1]) / 2
        output = QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits,
            end_logits=end_logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return self.in_asked_form(output, return_dict)


class XLMForQuestionAnswering(XLMModelWithHead):
    """XLM with the SQuAD beam head: the end depends on the start, and a question may have none."""

    architecture = "XLMForQuestionAnswering"

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.qa_outputs = SQuADHead(config)
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
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        is_impossible: Tensor | None = None,
        cls_index: Tensor | None = None,
        p_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **unknown: Any,
    ) -> XLMForQuestionAnsweringOutput | tuple[Any, ...]:
        """Find the likeliest spans, or with positions the loss.

        Args:
            start_positions, end_positions: int64, shape (batch,), in [0, sequence).
            is_impossible: integer, bool or float, shape (batch,): 1 where there is no answer.
                Counts towards the loss only together with cls_index.
            cls_index: int64, shape (batch,): the token that stands for "no answer"; default the
                last.
            p_mask: bool, integer or float, shape (batch, sequence): 1 for tokens that cannot be
                part of an answer.
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, return_dict:
                As in `XLMModel.forward`.

        Returns:
            `XLMForQuestionAnsweringOutput`, or with return_dict=False the tuple of what it holds.

        Raises:
            InputError: Also for a sequence shorter than config.start_n_top or end_n_top.
        """
        with_loss = both_or_neither(start_positions, end_positions)
        encoded = self.encode(
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
            head_mask, inputs_embeds, output_attentions, output_hidden_states, unknown,
        )  # fmt: skip
        hidden = encoded.last_hidden_state
        batch, sequence = hidden.shape[:2]
        positions = {
            name: check_labels(
                self,
                name,
                tensor,
                (batch,),
                "(batch,)",
                limit=sequence,
                rule="the positions of the sequence",
                ignored=None,
            )
            for name, tensor in (
                ("start_positions", start_positions),
                ("end_positions", end_positions),
                ("cls_index", cls_index),
            )
            if tensor is not None
        }
        flags: tuple[DtypeKind, ...] = ("bool", "integer", "float")
        if is_impossible is not None:
            is_impossible = check_labels(
                self,
                "is_impossible",
                is_impossible,
                (batch,),
                "(batch,)",
                limit=2,
                rule="0 for a question with an answer and 1 for one without",
                ignored=None,
                kinds=flags,
            )
        if p_mask is not None:
            p_mask = check_labels(
                self, "p_mask", p_mask, (batch, sequence), "(batch, sequence)", kinds=flags
            )
            if values_are_visible(self, p_mask):
                check_flags("p_mask", p_mask)
        if with_loss:
            output = XLMForQuestionAnsweringOutput(
                loss=self.qa_outputs.loss(
                    hidden,
                    positions["start_positions"],
                    positions["end_positions"],
                    positions.get("cls_index"),
                    is_impossible,
                    p_mask,
                )
            )
        else:
            output = self.qa_outputs(hidden, positions.get("cls_index"), p_mask)
        output.hidden_states = encoded.hidden_states
        output.attentions = encoded.attentions
        return self.in_asked_form(output, return_dict)
