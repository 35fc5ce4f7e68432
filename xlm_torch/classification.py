"""Heads that classify: sequences, choices, tokens."""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_core.errors import warn
from xlm_core.heads import LENGTHS_DROPPED, choice_shape, drops_lengths, problem_type_of
from xlm_core.inputs import DtypeKind, TensorInfo, check_call, check_tensor
from xlm_torch.fast.rule import are_traced
from xlm_torch.heads import XLMModelWithHead
from xlm_torch.inputs import check_labels, describe
from xlm_torch.losses import binary_cross_entropy, cross_entropy, mean_squared_error
from xlm_torch.outputs import (
    MultipleChoiceModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from xlm_torch.sequence_summary import SequenceSummary, summarised_position


class XLMForSequenceClassification(XLMModelWithHead):
    """XLM with a classifier or a regressor over the sequence summary."""

    architecture = "XLMForSequenceClassification"

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.sequence_summary = SequenceSummary(config)
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
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Classify sequences.

        Args:
            labels: By config.problem_type: "regression", float, shape (batch,) with one label
                or (batch, labels); "single_label_classification", integer, shape (batch,);
                "multi_label_classification", float, shape (batch, labels). Where it is None:
                regression with one label, single label for integers, else multi-label.
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, return_dict:
                As in `XLMModel.forward`.

        Returns:
            `SequenceClassifierOutput`, or with return_dict=False the tuple of what it holds.
        """
        encoded = self.encode(
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
            head_mask, inputs_embeds, output_attentions, output_hidden_states, unknown,
            output_positions=summarised_position(self.sequence_summary),
        )  # fmt: skip
        logits = self.sequence_summary(encoded.last_hidden_state)
        loss = None if labels is None else self._loss(logits, labels)
        output = SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return self.in_asked_form(output, return_dict)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        batch, classes = logits.shape[0], self.config.num_labels
        problem = problem_type_of(self.config, describe("labels", labels).kind)
        if problem == "single_label_classification":
            labels = check_labels(
                self,
                "labels",
                labels,
                (batch,),
                "(batch,)",
                limit=classes,
                rule="the classes (num_labels)",
            )
            return cross_entropy(logits, labels)
        if problem == "regression" and classes == 1:
            kinds: tuple[DtypeKind, ...] = ("float", "integer")
            labels = check_labels(self, "labels", labels, (batch,), "(batch,)", kinds=kinds)
            return mean_squared_error(logits.squeeze(-1), labels)
        labels = check_labels(
            self,
            "labels",
            labels,
            (batch, classes),
            "(batch, labels)",
            kinds=("float", "bool", "integer"),
            limit=None if problem == "regression" else 2,
            rule="0 for no and 1 for yes",
            ignored=None,
        )
        loss = mean_squared_error if problem == "regression" else binary_cross_entropy
        return loss(logits, labels)


class XLMForMultipleChoice(XLMModelWithHead):
    """XLM that scores each of several choices and picks among them."""

    architecture = "XLMForMultipleChoice"

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.sequence_summary = SequenceSummary(config)
        self.logits_proj = nn.Linear(config.num_labels, 1)
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
    ) -> MultipleChoiceModelOutput | tuple[Any, ...]:
        """Choose.

        Args:
            input_ids, attention_mask, langs, token_type_ids, position_ids: As in
                `XLMModel.forward`, with shape (batch, choices, sequence).
            lengths: int64, shape (batch, choices); of shape (batch,), not used, with a warning.
            inputs_embeds: float, shape (batch, choices, sequence, hidden).
            labels: int64, shape (batch,): the right choice.
            cache, head_mask, output_attentions, output_hidden_states, return_dict: As in
                `XLMModel.forward`, over batch * choices rows.

        Returns:
            `MultipleChoiceModelOutput`, or with return_dict=False the tuple of what it holds.
        """
        if unknown:
            self.refuse(unknown)
        name, leading, rank = (
            ("input_ids", input_ids, 3)
            if input_ids is not None
            else ("inputs_embeds", inputs_embeds, 4)
        )
        if leading is None:
            check_call(self.config, {})  # raises: it needs either
        shape = choice_shape(name, describe(name, leading).shape, rank)
        batch, choices = cast(tuple[int, int], shape)  # PyTorch knows its shapes
        leading_axes = (batch, choices)
        if lengths is not None and drops_lengths(describe("lengths", lengths).shape, batch):
            if not are_traced(lengths):
                warn(LENGTHS_DROPPED)
            lengths = None
        encoded = self.encode(
            _merge_choices("input_ids", input_ids, leading_axes, 1),
            _merge_choices("attention_mask", attention_mask, leading_axes, 1),
            _merge_choices("langs", langs, leading_axes, 1),
            _merge_choices("token_type_ids", token_type_ids, leading_axes, 1),
            _merge_choices("position_ids", position_ids, leading_axes, 1),
            _merge_choices("lengths", lengths, leading_axes, 0),
            cache,
            head_mask,
            _merge_choices("inputs_embeds", inputs_embeds, leading_axes, 2),
            output_attentions,
            output_hidden_states,
            unknown,
            output_positions=summarised_position(self.sequence_summary),
        )
        scores = self.logits_proj(self.sequence_summary(encoded.last_hidden_state))
        logits = scores.reshape(batch, choices)
        loss = None
        if labels is not None:
            labels = check_labels(
                self, "labels", labels, (batch,), "(batch,)", limit=choices, rule="the choices"
            )
            loss = cross_entropy(logits, labels)
        output = MultipleChoiceModelOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return self.in_asked_form(output, return_dict)


def _merge_choices(
    name: str, tensor: Tensor | None, leading: tuple[int, int], trailing: int
) -> Tensor | None:
    """(batch, choices, ...) to (batch * choices, ...)."""
    if tensor is None:
        return None
    info = describe(name, tensor)
    axes = "(batch, choices" + (", ...)" if trailing else ")")
    check_tensor(
        name,
        TensorInfo(info.shape, "integer"),
        (*leading, *(None,) * trailing),
        axes,
    )
    return tensor.flatten(0, 1)


class XLMForTokenClassification(XLMModelWithHead):
    """XLM with a classifier over every token."""

    architecture = "XLMForTokenClassification"

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.emb_dim, config.num_labels)
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
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """Classify tokens.

        Args:
            labels: int64, shape (batch, new); -100 does not count.
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, return_dict:
                As in `XLMModel.forward`.

        Returns:
            `TokenClassifierOutput`, or with return_dict=False the tuple of what it holds.
        """
        encoded = self.encode(
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
            head_mask, inputs_embeds, output_attentions, output_hidden_states, unknown,
        )  # fmt: skip
        hidden = F.dropout(encoded.last_hidden_state, self.config.dropout, self.training)
        logits = self.classifier(hidden)
        loss = None
        if labels is not None:
            labels = check_labels(
                self,
                "labels",
                labels,
                tuple(logits.shape[:2]),
                "(batch, sequence)",
                limit=self.config.num_labels,
                rule="the classes (num_labels), or -100 where there is no label",
            )
            loss = cross_entropy(logits, labels)
        output = TokenClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return self.in_asked_form(output, return_dict)
