"""The likeliest fillings of masks: `fill_mask`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xlm_core.texts import filling
from xlm_core.texts.preparing import Languages, Preparation
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_torch.language_model import XLMWithLMHeadModel
from xlm_torch.texts.forward import TextForward


def fill_mask(
    model: XLMWithLMHeadModel,
    tokenizer: XLMTokenizer,
    texts: str | Iterable[str],
    *,
    lang: Languages = None,
    top_k: int | None = None,
    targets: str | int | Iterable[str | int] | None = None,
    mask: str | None = None,
    frame: str = "</s>",
    truncation: bool = False,
    max_length: int | None = None,
    batch_size: int = 32,
) -> list[Any]:
    """The most probable tokens for every mask of texts.

    The masks of a text are filled each by itself, the others staying masked, as in transformers'
    pipeline.

    Args:
        model: A masked language model.
        tokenizer: Its tokenizer.
        texts: One text, or several; `tokenizer.mask_token`, `<special1>`, stands where something
            is to be filled in.
        lang: Name or number of the language of all texts, or one for each. A model with language
            embeddings needs it.
        top_k: How many fillings a mask gets; default: 5, or all of `targets`.
        targets: Candidates, to which the fillings are restricted: words of one subword each, or
            ids. Their probabilities stay those among the whole vocabulary.
        mask: Another text that stands for a mask, such as "___".
        frame: What opens a text, "</s>", as models were pretrained, or "<s>", as transformers
            frames. `</s>` closes it.
        truncation: Cut texts that are longer than `max_length`; False refuses them.
        max_length: Most ids of a text, the frame included; default: the model's positions.
        batch_size: Texts that go through the model together.

    Returns:
        For each text the fillings of its mask, the best first; where it has several masks, a list
        of these lists. Of one text, that alone. A filling is a dictionary: `score` (its
        probability), `token` (its id), `token_str` (its text) and `sequence` (the text with it,
        without the frame).

    Raises:
        InputError: For a text without a mask, a candidate of several subwords, a model that fills
            no masks, and arguments that make no sense.
    """
    forward = TextForward(model)
    preparation = Preparation(
        forward.config, tokenizer, frame=frame, truncation=truncation, max_length=max_length
    )
    fills = filling.MaskFilling(
        forward, preparation, top_k=top_k, targets=targets, mask=mask, batch_size=batch_size
    )
    return filling.fill_mask(fills, texts, lang)
