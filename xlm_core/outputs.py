"""The outputs of models and heads: one set of dataclasses for both frameworks.

They behave like the output classes of transformers: an attribute for every field, and at the
same time an ordered dictionary of the fields that are not None. `output.logits`,
`output["logits"]` and `output[0]` read; iterating and unpacking give the *keys*, as with any
dictionary; `to_tuple()` gives the values. Each family registers `OUTPUT_CLASSES` with its
framework, so that compiled and traced functions can return them.

Shapes use one legend: `batch`, `sequence`, `hidden` (config.emb_dim), `heads`, `query`, `key`
(lengths of attention), `vocabulary`, `labels`, `choices`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn


class ModelOutput(dict[str, Any]):
    """Base of all outputs: a dataclass that is also a dictionary of its fields that are not None.

    A mapping, or (name, value) pairs, given as the only argument spreads over
    the fields, so that code which rebuilds dictionaries (`type(output)(...)`) works. Other keys may
    be set too (`output["texts"] = ...`): they come after the fields, and are attributes as well.

    Raises:
        TypeError: On deletion, `pop`, `update` and `setdefault`, which would leave the
            attributes and the items apart.
        KeyError: On reading a name that was not set, or a field whose value is None.
    """

    def __post_init__(self) -> None:
        names = self.field_names()
        first = getattr(self, names[0])
        alone = all(getattr(self, name) is None for name in names[1:])
        if alone and (isinstance(first, (Mapping, Iterator)) or _are_pairs(first)):
            pairs: Iterable[tuple[str, Any]] = (
                first.items() if isinstance(first, Mapping) else first
            )
            object.__setattr__(self, names[0], None)
            others = {}
            for name, value in pairs:
                if name not in names:
                    others[name] = value
                object.__setattr__(self, name, value)
        else:
            others = {}
        for name in names:
            value = getattr(self, name)
            if value is not None:
                super().__setitem__(name, value)
        for name, value in others.items():
            super().__setitem__(name, value)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The names of all fields, in order, whether or not they are set."""
        return tuple(cls.__dataclass_fields__)  # type: ignore[attr-defined]

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are not None, in field order."""
        return tuple(self.values())

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            return super().__getitem__(key)
        return self.to_tuple()[key]

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in self:
            if value is None:
                super().__delitem__(name)
            else:
                super().__setitem__(name, value)
        elif value is not None and len(self) and name in self.field_names():
            # A field set late still takes its place in the field order.
            others = self._others()
            super().clear()
            for field in self.field_names():
                if getattr(self, field) is not None:
                    super().__setitem__(field, getattr(self, field))
            for other, kept in others.items():
                super().__setitem__(other, kept)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)
        if key not in self and (value is not None or key not in self.field_names()):
            super().__setitem__(key, value)

    def _others(self) -> dict[str, Any]:
        """Items whose keys are no fields."""
        fields = self.field_names()
        return {key: value for key, value in self.items() if key not in fields}

    def __reduce__(self) -> tuple[Any, ...]:
        fields = self.field_names()
        attributes = {name: value for name, value in vars(self).items() if name not in fields}
        values = tuple(getattr(self, name) for name in fields)
        return type(self), values, attributes or None, None, iter(self._others().items())

    def copy(self) -> ModelOutput:
        """A shallow copy."""
        return copy.copy(self)

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(f"the fields of {type(self).__name__} cannot be deleted or merged")

    __delitem__ = __ior__ = pop = popitem = update = setdefault = clear = _refuse


def _are_pairs(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)
        for entry in value
    )


@dataclass(eq=False)
class BaseModelOutput(ModelOutput):
    """What `XLMModel` returns.

    Attributes:
        last_hidden_state: float, shape (batch, sequence, hidden); padded positions are zero.
        hidden_states: n_layers + 1 tensors like it: the embeddings, then each layer's output.
        attentions: n_layers tensors, float, shape (batch, heads, query, key): the weights after
            softmax (in training after dropout, and after head_mask where one is given).
    """

    last_hidden_state: Any = None
    hidden_states: Any = None
    attentions: Any = None


@dataclass(eq=False)
class BaseModelOutputWithCrossAttentions(ModelOutput):
    """What the decoder of an encoder-decoder returns.

    Attributes:
        last_hidden_state, hidden_states, attentions: As in `BaseModelOutput`.
        cross_attentions: n_layers tensors, float, shape (batch, heads, query, source): the weights
            with which each position attends to the source.
    """

    last_hidden_state: Any = None
    hidden_states: Any = None
    attentions: Any = None
    cross_attentions: Any = None


@dataclass(eq=False)
class MaskedLMOutput(ModelOutput):
    """What `XLMWithLMHeadModel` returns.

    Attributes:
        loss: float scalar, only with labels; mean over the labels that are not -100.
        logits: float, shape (batch, sequence, vocabulary); log-probabilities with adaptive softmax.
        hidden_states, attentions: As in `BaseModelOutput`.
    """

    loss: Any = None
    logits: Any = None
    hidden_states: Any = None
    attentions: Any = None


@dataclass(eq=False)
class Seq2SeqLMOutput(ModelOutput):
    """What `XLMForConditionalGeneration` returns; `target` and `source` are two sequences.

    Attributes:
        loss: float scalar, only with labels; mean over the labels that are not -100.
        logits: float, shape (batch, target, vocabulary); log-probabilities with adaptive softmax.
        decoder_hidden_states, decoder_attentions, cross_attentions: As in
            `BaseModelOutputWithCrossAttentions`.
        encoder_last_hidden_state: float, shape (batch, source, hidden); padded positions are zero.
        encoder_hidden_states, encoder_attentions: As in `BaseModelOutput`.
    """

    loss: Any = None
    logits: Any = None
    decoder_hidden_states: Any = None
    decoder_attentions: Any = None
    cross_attentions: Any = None
    encoder_last_hidden_state: Any = None
    encoder_hidden_states: Any = None
    encoder_attentions: Any = None


@dataclass(eq=False)
class SequenceClassifierOutput(ModelOutput):
    """What `XLMForSequenceClassification` returns.

    Attributes:
        loss: float scalar, only with labels.
        logits: float, shape (batch, labels).
        hidden_states, attentions: As in `BaseModelOutput`.
    """

    loss: Any = None
    logits: Any = None
    hidden_states: Any = None
    attentions: Any = None


@dataclass(eq=False)
class MultipleChoiceModelOutput(ModelOutput):
    """What `XLMForMultipleChoice` returns.

    Attributes:
        loss: float scalar, only with labels.
        logits: float, shape (batch, choices).
        hidden_states, attentions: As in `BaseModelOutput`, with batch * choices rows.
    """

    loss: Any = None
    logits: Any = None
    hidden_states: Any = None
    attentions: Any = None


@dataclass(eq=False)
class TokenClassifierOutput(ModelOutput):
    """What `XLMForTokenClassification` returns.

    Attributes:
        loss: float scalar, only with labels; mean over the labels that are not -100.
        logits: float, shape (batch, sequence, labels).
        hidden_states, attentions: As in `BaseModelOutput`.
    """

    loss: Any = None
    logits: Any = None
    hidden_states: Any = None
    attentions: Any = None


@dataclass(eq=False)
class QuestionAnsweringModelOutput(ModelOutput):
    """What `XLMForQuestionAnsweringSimple` returns.

    Attributes:
        loss: float scalar, only with start_positions and end_positions.
        start_logits, end_logits: float, shape (batch, sequence).
        hidden_states, attentions: As in `BaseModelOutput`.
    """

    loss: Any = None
    start_logits: Any = None
    end_logits: Any = None
    hidden_states: Any = None
    attentions: Any = None


@dataclass(eq=False)
class XLMForQuestionAnsweringOutput(ModelOutput):
    """What `XLMForQuestionAnswering`, the beam head, returns.

    S is config.start_n_top, E is config.end_n_top. The flat index of the pair (s-th start, its
    e-th end) is e * S + s. The `log_probs` hold probabilities; the names are the published ones.

    Attributes:
        loss: float scalar, only with start_positions and end_positions; then nothing but it,
            hidden_states and attentions is set.
        start_top_log_probs: float, shape (batch, S).
        start_top_index: int64, shape (batch, S).
        end_top_log_probs: float, shape (batch, S * E).
        end_top_index: int64, shape (batch, S * E).
        cls_logits: float, shape (batch,): that the question has no answer.
        hidden_states, attentions: As in `BaseModelOutput`.
    """

    loss: Any = None
    start_top_log_probs: Any = None
    start_top_index: Any = None
    end_top_log_probs: Any = None
    end_top_index: Any = None
    cls_logits: Any = None
    hidden_states: Any = None
    attentions: Any = None


@dataclass(eq=False)
class GenerateOutput(ModelOutput):
    """What `generate` returns with return_dict_in_generate.

    Attributes:
        sequences: int64, shape (sequences, tokens): the prompt and what was generated; for each
            sentence as many as num_return_sequences, the best first, padded after their end.
        sequences_scores: float, shape (sequences,), of beam search: what sequences were compared
            by.
        scores: With output_scores, for each step what tokens were chosen by, after all that
            changes it: logits of greedy search and sampling, log-probabilities of beam search;
            float, shape (rows, vocabulary), a row for each sequence or beam, finished or not.
    """

    sequences: Any = None
    sequences_scores: Any = None
    scores: Any = None


OUTPUT_CLASSES: tuple[type[ModelOutput], ...] = (
    BaseModelOutput,
    BaseModelOutputWithCrossAttentions,
    MaskedLMOutput,
    Seq2SeqLMOutput,
    SequenceClassifierOutput,
    MultipleChoiceModelOutput,
    TokenClassifierOutput,
    QuestionAnsweringModelOutput,
    XLMForQuestionAnsweringOutput,
    GenerateOutput,
)
