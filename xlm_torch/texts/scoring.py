"""Log-probabilities of texts, their words and their tokens: `score`."""

from __future__ import annotations

from collections.abc import Iterable

from xlm_core.texts import scoring
from xlm_core.texts.preparing import Languages, Preparation
from xlm_core.texts.scoring import TextScore
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_torch.pretrained import XLMPreTrainedModel
from xlm_torch.texts.forward import TextForward


def score(
    model: XLMPreTrainedModel,
    tokenizer: XLMTokenizer,
    texts: str | Iterable[str],
    *,
    lang: Languages = None,
    sources: str | Iterable[str] | None = None,
    src_lang: Languages = None,
    frame: str = "</s>",
    truncation: bool = False,
    max_length: int | None = None,
    batch_size: int = 32,
) -> TextScore | list[TextScore]:
    """How likely a model finds texts: log-probabilities of their tokens, words and sentences.

    A causal model predicts each token from those before it, and the closing `</s>` from all. A
    masked one predicts each token of the text from all others, a mask standing in its place
    (pseudo-log-likelihood); of the frame nothing is predicted. An encoder-decoder predicts
    translations of sources as a causal model does, and sees the sources.

    Args:
        model: A language model, masked or causal, or an encoder-decoder.
        tokenizer: Its tokenizer.
        texts: One text, or several; with `sources`, their translations.
        lang: Name or number of the language of all texts, or one for each. A model with language
            embeddings needs it.
        sources: For an encoder-decoder, what each text translates.
        src_lang: The language of the sources, in the form of `lang`.
        frame: What opens a text, "</s>", as models were pretrained, or "<s>", as transformers
            frames. `</s>` closes it.
        truncation: Cut texts that are longer than `max_length`; False refuses them.
        max_length: Most ids of a text, the frame included; default: the model's positions.
        batch_size: Rows that go through the model together; a masked model has one for each token.

    Returns:
        A `TextScore` for each text; of one text, that alone.

    Raises:
        InputError: For texts, languages, models or arguments that make no sense.

    Source: Salazar et al. 2020 for masked models.
    """
    forward = TextForward(model)
    preparation = Preparation(
        forward.config, tokenizer, frame=frame, truncation=truncation, max_length=max_length
    )
    scores = scoring.Scoring(forward, preparation, batch_size=batch_size)
    return scoring.score(scores, texts, lang, sources, src_lang)
