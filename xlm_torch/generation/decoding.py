"""Decodings: what gives the logits of the next token, of the three kinds of models.

They have the same methods: `first` gives the logits after the prompt, `next` those after one more
token, `select` reorders the rows, repeats them or leaves some out.

Shapes use the legend of `xlm_torch.model`; `rows` are the sentences at first, then what `select`
makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xlm_core.config import XLMConfig
from xlm_core.generation import Kind
from xlm_torch.cache import KeyValueCache
from xlm_torch.fast.one_position import OnePosition
from xlm_torch.fast.path import one_position
from xlm_torch.generation.logits import NO_TOKEN


class CachedDecoding:
    """A causal language model, or a decoder over its sources: one position a step, and a cache.

    Padding of prompts is moved to the left, and positions are counted without it, so that each
    sentence gets what it would alone.

    Args:
        kind: Which of the two.
        body: The `XLMModel` that is causal.
        output: Hidden states to logits.
        steps: Whether `body.step` may stand in for calling `body`.
        prompt: int64, shape (sentences, prompt).
        tokens: bool, shape (sentences, prompt): False for padding.
        langs: int64, shape (sentences, prompt), or None.
        following: int64, shape (sentences,): the language of what is generated, or None.
        source: What a decoder attends to: hidden states, float, shape (sentences, source, hidden),
            and a mask, bool, shape (sentences, source).

    Attributes:
        history: int64, shape (sentences, prompt): the prompts, `NO_TOKEN` for padding on the left.
    """

    def __init__(
        self,
        kind: Kind,
        body: Any,
        output: Callable[[Tensor], Tensor],
        *,
        steps: bool,
        prompt: Tensor,
        tokens: Tensor,
        langs: Tensor | None = None,
        following: Tensor | None = None,
        source: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.kind, self._body, self._output, self._steps = kind, body, output, steps
        self._source, self._following = source, following
        self._positions = tokens.sum(1)
        self._has_padding = not bool(tokens.all())
        if self._has_padding:
            order = tokens.to(torch.int8).argsort(dim=1, stable=True)
            prompt, tokens = prompt.gather(1, order), tokens.gather(1, order)
            langs = None if langs is None else langs.gather(1, order)
        self.history = prompt.masked_fill(~tokens, NO_TOKEN)
        self._new: dict[str, Tensor] = {
            "input_ids": prompt,
            "position_ids": (tokens.cumsum(1) - 1).clamp(min=0),
        }
        if langs is not None:
            self._new["langs"] = langs
        self._whole: dict[str, Tensor] = {}
        self._tokens = tokens
        self._cached = 0
        self._cache = KeyValueCache()
        self._one_position: OnePosition | None = None
        self._asked = False  # whether there is one
        # Additive, of prompts with padding and of sources with padding; made when they are needed.
        self._mask: Tensor | None = None
        self._source_mask: Tensor | None = None
        self._masked = False

    def first(self, steps: int) -> Tensor:
        """Logits of the token after the prompt.

        Args:
            steps: How many tokens will follow at most.

        Returns:
            float, shape (sentences, vocabulary).
        """
        columns = self._tokens.shape[1] + steps
        self._cache = KeyValueCache(max_length=columns)
        self._tokens = F.pad(self._tokens, (0, steps), value=True)
        return self._logits()

    def next(self, ids: Tensor) -> Tensor:
        """Logits of the token after one more.

        Args:
            ids: int64, shape (rows,).

        Returns:
            float, shape (rows, vocabulary).
        """
        # Rows that are finished and stay in the batch may run out of positions.
        last = self._body.config.max_position_embeddings - 1
        positions = self._positions.clamp(max=last)
        self._positions = self._positions + 1
        if self._steps and not self._asked:
            self._one_position, self._asked = one_position(self._body, self._cache), True
        if self._one_position is not None:
            return self._output(self._hidden(self._one_position, ids, positions))
        self._new = {"input_ids": ids[:, None], "position_ids": positions[:, None]}
        if self._following is not None:
            self._new["langs"] = self._following[:, None]
        return self._logits()

    def select(self, rows: Tensor, *, sentences: bool = True) -> None:
        """Go on with these rows, in this order.

        Args:
            rows: int64, shape (rows,).
            sentences: False: each is of the same sentence as the row that was in its place.
        """
        self._cache.select(rows, sources=sentences)
        self._whole = {name: x.index_select(0, rows) for name, x in self._whole.items()}
        if not sentences:
            return
        self._masked = False
        self._tokens = self._tokens.index_select(0, rows)
        self._positions = self._positions.index_select(0, rows)
        if self._following is not None:
            self._following = self._following.index_select(0, rows)
        if self._source is not None:
            hidden, mask = self._source
            # With the library's own steps, the cache holds what is looked at of the source.
            hidden = hidden if self._steps else hidden.index_select(0, rows)
            self._source = hidden, mask.index_select(0, rows)

    def _hidden(self, steps: OnePosition, ids: Tensor, positions: Tensor) -> Tensor:
        """Hidden states of one new position a row, float, shape (rows, hidden)."""
        self._cached += 1
        if not self._masked:
            self._mask = self._source_mask = None
            if self._has_padding:
                self._mask = steps.additive(self._tokens)
            if self._source is not None and not bool(self._source[1].all()):
                self._source_mask = steps.additive(self._source[1])
            self._masked = True
        mask = None if self._mask is None else self._mask[..., : self._cached]
        return steps(ids, positions, self._following, mask, self._source_mask)

    def _logits(self) -> Tensor:
        """Run the new positions, and give the logits of the last one."""
        new = self._new
        total = self._cached + new["input_ids"].shape[1]
        tokens = self._tokens[:, :total]
        if self._steps:
            hidden = self._body.step(
                new["input_ids"],
                new["position_ids"],
                new.get("langs"),
                tokens,
                self._cache,
                *(self._source or ()),
            )
        else:
            self._whole = {
                name: torch.cat((self._whole[name], x), dim=1) if self._whole else x
                for name, x in new.items()
            }
            given: Mapping[str, Any] = {}
            if self._source is not None:
                hidden, mask = self._source
                given = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
            hidden = self._body(
                attention_mask=tokens,
                cache=self._cache,
                return_dict=True,
                output_attentions=False,
                output_hidden_states=False,
                **self._whole,
                **given,
            ).last_hidden_state
        self._cached = total
        return self._output(hidden[:, -1])


class MaskedDecoding:
    """A masked language model by transformers' procedure: a mask is appended, all is computed.

    Args:
        model: An `XLMWithLMHeadModel`.
        prompt: int64, shape (sentences, prompt).
        tokens: bool, shape (sentences, prompt): False for padding, which is hidden where it
            stands.
        langs: int64, shape (sentences, prompt), or None.
        following: int64, shape (sentences,): the language of what is generated, or None.

    Attributes:
        history: int64, shape (sentences, prompt): the prompts.
    """

    def __init__(
        self,
        model: Any,
        *,
        prompt: Tensor,
        tokens: Tensor,
        langs: Tensor | None = None,
        following: Tensor | None = None,
    ) -> None:
        self.kind: Kind = "masked"
        self._model, self._ids, self._langs, self._following = model, prompt, langs, following
        self._tokens = None if bool(tokens.all()) else tokens
        self.history = prompt

    def first(self, steps: int) -> Tensor:
        """As in `CachedDecoding`."""
        return self._logits()

    def next(self, ids: Tensor) -> Tensor:
        """As in `CachedDecoding`."""
        self._ids = torch.cat((self._ids, ids[:, None]), dim=1)
        if self._tokens is not None:
            self._tokens = F.pad(self._tokens, (0, 1), value=True)
        if self._langs is not None and self._following is not None:
            self._langs = torch.cat((self._langs, self._following[:, None]), dim=1)
        return self._logits()

    def select(self, rows: Tensor, *, sentences: bool = True) -> None:
        """As in `CachedDecoding`."""
        self._ids = self._ids.index_select(0, rows)
        if not sentences:
            return
        if self._tokens is not None:
            self._tokens = self._tokens.index_select(0, rows)
        if self._langs is not None and self._following is not None:
            self._langs = self._langs.index_select(0, rows)
            self._following = self._following.index_select(0, rows)

    def _logits(self) -> Tensor:
        config: XLMConfig = self._model.config
        asked = F.pad(self._ids, (0, 1), value=config.mask_token_id or 0)
        langs = self._langs
        if langs is not None and self._following is not None:
            langs = torch.cat((langs, self._following[:, None]), dim=1)
        attention_mask = lengths = None
        if self._tokens is None:
            # As in transformers: padding that is generated hides the last position.
            lengths = (asked != config.pad_index).sum(1)
        else:
            attention_mask = F.pad(self._tokens, (0, 1), value=True)
        encoded = self._model.encode(
            asked, attention_mask, langs, None, None, lengths, None, None, None, False, False, {},
            output_positions=-1,
        )  # fmt: skip
        logits: Tensor = self._model.pred_layer(encoded.last_hidden_state[:, -1])
        return logits
