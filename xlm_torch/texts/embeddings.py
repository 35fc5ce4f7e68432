"""Vectors of texts, of their tokens or of their words: `encode`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from xlm_core.texts import embeddings
from xlm_core.texts.forward import Array
from xlm_core.texts.preparing import Languages
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_torch.pretrained import XLMPreTrainedModel
from xlm_torch.texts.forward import TextForward


def encode(
    model: XLMPreTrainedModel,
    tokenizer: XLMTokenizer,
    texts: str | Iterable[str],
    *,
    lang: Languages = None,
    pooling: str = "mean",
    layer: int = -1,
    include_frame: bool | None = None,
    normalize_embeddings: bool = False,
    frame: str = "</s>",
    truncation: bool = True,
    max_length: int | None = None,
    batch_size: int = 32,
    dtype: str | None = None,
    **more: Any,
) -> Array | list[Array]:
    """Sentence embeddings, or the vectors of all tokens or words.

    Texts are sorted by length inside, and come out in their order. Dropout is off, whatever mode
    the model is in.

    Args:
        model: An encoder, or a model with a head, whose encoder is taken.
        tokenizer: Its tokenizer.
        texts: One text, or several: also a generator, of which 64 batches are read at a time.
        lang: Name or number of the language of all texts, or one for each. A model with language
            embeddings needs it.
        pooling: What becomes of the hidden states of a text: their "mean" or "max", the "first"
            or the "last" one (both are the frame's), those of all "tokens", or of all "words" (the
            mean over the subwords of each; `tokenizer.words(text)` are the words).
        layer: Whose hidden states: 0 for the embeddings, 1 for the first layer, -1 for the last.
        include_frame: Whether the frame counts: by default it does in "mean" and "max", as special
            tokens do in sentence-transformers, and is left out of "tokens". Where it does not
            count, a text without tokens gives zeros.
        normalize_embeddings: Scale each vector to length 1.
        frame: What opens a text, "</s>", as models were pretrained, or "<s>", as transformers
            frames. `</s>` closes it.
        truncation: Cut texts that are longer than `max_length`, with one warning that counts
            them; False refuses them.
        max_length: Most ids of a text, the frame included; default: the model's positions.
        batch_size: Texts that go through the model together.
        dtype: "float32", "float16" or "float64"; default: float32, or float64 of a float64 model.
        **more: Arguments of sentence-transformers' `encode` that change nothing here, such as
            `show_progress_bar` and `convert_to_numpy=True`.

    Returns:
        float, shape (texts, hidden), of one text (hidden,); with "tokens" or "words" a list of
        arrays of shape (tokens or words, hidden), of one text one such array.

    Raises:
        InputError: For texts, languages or arguments that make no sense.
        UnknownArgumentError: For any other keyword.
    """
    encoder = embeddings.encoder_of(
        TextForward(model),
        tokenizer,
        pooling=pooling,
        layer=layer,
        include_frame=include_frame,
        normalize_embeddings=normalize_embeddings,
        frame=frame,
        truncation=truncation,
        max_length=max_length,
        batch_size=batch_size,
        dtype=dtype,
        more=more,
    )
    return embeddings.encode(encoder, texts, lang)


def encode_each(
    model: XLMPreTrainedModel,
    tokenizer: XLMTokenizer,
    texts: Iterable[str],
    *,
    lang: Languages = None,
    pooling: str = "mean",
    layer: int = -1,
    include_frame: bool | None = None,
    normalize_embeddings: bool = False,
    frame: str = "</s>",
    truncation: bool = True,
    max_length: int | None = None,
    batch_size: int = 32,
    dtype: str | None = None,
    **more: Any,
) -> Iterator[Array]:
    """`encode` for more texts than fit into memory: the vectors of one after another.

    Args:
        model, tokenizer, lang, pooling, layer, include_frame, normalize_embeddings, frame,
            truncation, max_length, batch_size, dtype, more: As in `encode`.
        texts: Texts, such as the lines of a file; 64 batches are read at a time.

    Returns:
        An iterator of arrays, in the order of the texts: of shape (hidden,), or with "tokens" or
        "words" (tokens or words, hidden).

    Raises:
        InputError: For texts, languages or arguments that make no sense.
        UnknownArgumentError: For any other keyword.
    """
    encoder = embeddings.encoder_of(
        TextForward(model),
        tokenizer,
        pooling=pooling,
        layer=layer,
        include_frame=include_frame,
        normalize_embeddings=normalize_embeddings,
        frame=frame,
        truncation=truncation,
        max_length=max_length,
        batch_size=batch_size,
        dtype=dtype,
        more=more,
    )
    return embeddings.encode_each(encoder, texts, lang)
