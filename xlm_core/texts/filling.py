"""The likeliest fillings of the masks in texts: what `fill_mask` does around a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xlm_core.errors import InputError
from xlm_core.texts.forward import Array, Batch, Forward
from xlm_core.texts.preparing import (
    Languages,
    Preparation,
    Row,
    batches_by_length,
    in_languages,
    listed,
)
from xlm_core.tokenization.calls.arguments import check_natural

DEFAULT_TOP_K = 5

# One filling: its probability, its id, its text, and the text that it makes.
Filling = dict[str, Any]


class MaskFilling:
    """Fills the masks of texts.

    Args:
        forward: The model.
        preparation: How its texts become ids.
        top_k: How many fillings a mask gets; None: 5, or all candidates.
        targets: Candidates: words of one subword, or ids; None: the whole vocabulary.
        mask: What stands for the mask in the texts, beside the tokenizer's mask token.
        batch_size: Texts that go through the model together.

    Raises:
        InputError: For a model that fills no masks, or arguments that make no sense.
    """

    def __init__(
        self,
        forward: Forward,
        preparation: Preparation,
        *,
        top_k: int | None,
        targets: str | int | Iterable[str | int] | None,
        mask: str | None,
        batch_size: int,
    ) -> None:
        _check_model(forward)
        self._forward, self._preparation = forward, preparation
        self._tokenizer = preparation.tokenizer
        mask_token = self._tokenizer.mask_token
        if mask_token is None:
            raise InputError("the tokenizer has no mask_token: set it, as in '<special1>'.")
        self._mask_token = mask_token
        if mask is not None and (not isinstance(mask, str) or not mask):
            raise InputError(f"mask is {mask!r}: expected the text that stands for a mask.")
        check_natural("top_k", top_k, 1)
        check_natural("batch_size", batch_size, 1, required=True)
        size = forward.config.vocab_size
        if top_k is not None and top_k > size:
            raise InputError(f"top_k is {top_k}, but the vocabulary has {size} entries.")
        self._mask, self._batch_size = mask, batch_size
        self._targets = None if targets is None else _listed(targets)
        self._candidates: dict[str | None, Array] = {}
        self._top_k = top_k
        if self._targets is not None and not self._targets:
            raise InputError("targets is empty: give candidates, or leave it out.")

    def fill(self, texts: Iterable[str], lang: Languages) -> list[list[list[Filling]]]:
        """The fillings of each mask of each text."""
        pairs = [(self.with_mask_token(text), lang) for text, lang in in_languages(texts, lang)]
        rows = self._preparation.rows(pairs)
        masks = [self.masks_of(row) for row in rows]  # so that a text without one is refused first
        found: dict[int, list[list[Filling]]] = {}
        for indices in batches_by_length([len(row.ids) for row in rows], self._batch_size):
            chosen = self.of_rows([rows[index] for index in indices])
            found |= dict(zip(indices, chosen, strict=True))
        self._preparation.warn_of_cut()
        return [found[index] for index in range(len(masks))]

    def with_mask_token(self, text: str) -> str:
        """A text with the tokenizer's mask token in place of what stands for it."""
        if self._mask is None or not isinstance(text, str):
            return text
        return text.replace(self._mask, self._mask_token)

    def of_rows(self, rows: Sequence[Row]) -> list[list[list[Filling]]]:
        """The fillings of each text that `Preparation.rows` made a row of, as one batch."""
        masks = [self.masks_of(row) for row in rows]
        padding = self._forward.config.pad_index
        batch = Batch.of([row.ids for row in rows], [row.lang for row in rows], padding)
        positions = np.zeros(batch.input_ids.shape, dtype=np.bool_)
        for index, places in enumerate(masks):
            positions[index, places] = True
        log_probs = iter(self._forward.log_probs(batch, positions))
        return [
            [self._fillings(row, position, next(log_probs)) for position in places]
            for row, places in zip(rows, masks, strict=True)
        ]

    def masks_of(self, row: Row) -> list[int]:
        """Positions of the masks in a row.

        Raises:
            InputError: If there are none.
        """
        mask_id = self._tokenizer.mask_token_id
        masks = [place for place, token in enumerate(row.ids) if token == mask_id]
        if not masks:
            shown = self._mask_token
            where = " after it was cut" if shown in row.text else ""
            raise InputError(
                f"{row.name} has no mask{where}: write {shown} (the tokenizer's mask_token) where "
                "something is to be filled in, or say with mask=... what stands for it."
            )
        return masks

    def _fillings(self, row: Row, position: int, log_probs: Array) -> list[Filling]:
        """The best fillings of the mask at one position."""
        if np.isnan(log_probs).any():
            raise InputError("the model's logits are NaN: its weights or activations overflow.")
        if self._targets is None:
            ids = best(log_probs, self._top_k or DEFAULT_TOP_K)
        else:
            candidates = self._candidates_in(row.lang_name)
            count = min(self._top_k or len(candidates), len(candidates))
            ids = candidates[best(log_probs[candidates], count)]
        fillings = []
        for token in ids.tolist():
            filled = [*row.ids]
            filled[position] = token
            fillings.append(
                {
                    "score": float(np.exp(np.float64(log_probs[token]))),
                    "token": token,
                    "token_str": self._tokenizer.decode([token]),
                    "sequence": self._tokenizer.decode(filled[1:-1]),
                }
            )
        return fillings

    def _candidates_in(self, lang: str | None) -> Array:
        """Ids of the candidates, ascending, as the tokenizer gives them in a language."""
        if lang not in self._candidates:
            ids = {self._candidate(target, lang) for target in self._targets or ()}
            self._candidates[lang] = np.array(sorted(ids), dtype=np.int64)
        return self._candidates[lang]

    def _candidate(self, target: str | int, lang: str | None) -> int:
        size = self._forward.config.vocab_size
        if isinstance(target, int):
            if not 0 <= target < size:
                raise InputError(f"target {target} is no id: expected one in [0, {size}).")
            return target
        ids = self._tokenizer(target, lang=lang, add_special_tokens=False, verbose=False).input_ids
        pieces = self._tokenizer.convert_ids_to_tokens(ids)
        if len(ids) != 1:
            raise InputError(
                f"target {target!r} is {len(ids)} subwords ({', '.join(map(repr, pieces))}), and "
                "one mask holds one: give words of one subword, or ids."
            )
        if ids[0] == self._tokenizer.unk_token_id and target != self._tokenizer.unk_token:
            raise InputError(f"target {target!r} is not in the vocabulary.")
        return int(ids[0])


def best(scores: Array, count: int) -> Array:
    """Indices of the largest scores, the largest first, of equal ones the lowest index first."""
    count = min(count, len(scores))
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores >= least)
    order: Array = above[np.lexsort((above, -scores[above]))][:count]
    return order


def _check_model(forward: Forward) -> None:
    if forward.kind is None:
        raise InputError(
            f"{forward.name} has no language model's output layer, which fills masks: open the "
            "checkpoint as XLMWithLMHeadModel (TFXLMWithLMHeadModel)."
        )
    if forward.kind != "masked":
        raise InputError(
            f"the model is {forward.kind}: it predicts what comes next, and does not see what "
            "stands behind a mask. fill_mask needs a masked language model; use score for this one."
        )


def _listed(targets: str | int | Iterable[str | int]) -> list[str | int]:
    given: Sequence[Any] = [targets] if isinstance(targets, str | int) else list(targets)
    found: list[str | int] = []
    for target in given:
        if isinstance(target, bool) or not (
            isinstance(target, str) or hasattr(target, "__index__")
        ):
            raise InputError(f"target {target!r} is neither a word nor an id.")
        found.append(target if isinstance(target, str) else target.__index__())
    return found


def fill_mask(filling: MaskFilling, texts: str | Iterable[str], lang: Languages) -> list[Any]:
    """The fillings of texts, in the form of transformers' pipeline; see the families'."""
    several, single = listed(texts)
    # One mask: its fillings; several: those of each.
    found: list[Any] = [
        masks[0] if len(masks) == 1 else masks for masks in filling.fill(several, lang)
    ]
    return found[0] if single else found
