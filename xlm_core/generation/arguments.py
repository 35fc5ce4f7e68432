"""What one call of `generate` is to do, of its arguments, its model and the configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError, UnknownLanguageError, nearest, warn
from xlm_core.generation.beams import BeamSearch, Scoring
from xlm_core.generation.config import (
    SETTINGS,
    UNSUPPORTED,
    GenerationConfig,
    plain,
    refuse_setting,
)
from xlm_core.generation.progress import Progress
from xlm_core.generation.sampling import checked_seed

# A causal language model, a masked one, or an encoder-decoder.
Kind = Literal["causal", "masked", "translation"]

MASKED_WARNING = (
    "generate was called on a masked language model, which was not trained to continue a text: as "
    "in transformers, a mask is appended for every token and predicted from what precedes it. Open "
    "a causal checkpoint (or this one with causal=True, if it was trained so) to generate text."
)
# What models are told whose input all has the frame that the tokenizer makes by default.
FRAME_WARNINGS: dict[Kind, str] = {
    "causal": (
        "every prompt given to generate is framed <s> ... </s>, as tokenizer(texts) makes texts "
        "for classifiers. Causal models were trained on </s> words, and take a closing </s> for "
        'the end of the text: give tokenizer(texts, framing="prompt"), unless this one was '
        "trained otherwise."
    ),
    "translation": (
        "every source given to generate is framed <s> ... </s>, as tokenizer(texts) makes texts "
        "for classifiers. Translation models were trained on </s> words </s>: give "
        'tokenizer(texts, framing="sentence"), unless this one was trained otherwise.'
    ),
}
NEW_TOKENS = 20  # transformers' default


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What one call is to do, with nothing left open.

    Attributes:
        sentences: Rows of the input.
        prompts: int64, shape (sentences,): tokens of each row before anything is generated,
            without padding.
        limits, minimums: int64, shape (sentences,): how many tokens each may get at most, and how
            many it gets before it may end.
        max_length, max_new_tokens: Which of the two was asked for; both None: neither was.
        min_length, min_new_tokens: What was asked for; 0: nothing.
        eos: Tokens that end a sequence.
        closing: The token that replaces the last one of a sequence that reaches its limit; None:
            nothing does.
        seed: Of sampling; None where nothing is drawn.
        seed_is_drawn: Whether nobody gave it.
        start: What translations begin with.
        The others: As in `GenerationConfig`.
    """

    kind: Kind
    sentences: int
    prompts: NDArray[np.int64]
    limits: NDArray[np.int64]
    minimums: NDArray[np.int64]
    max_length: int | None
    max_new_tokens: int | None
    min_length: int
    min_new_tokens: int
    num_beams: int
    beam_scoring: Scoring
    length_penalty: float
    early_stopping: bool | Literal["never"]
    num_return_sequences: int
    seed: int | None
    seed_is_drawn: bool
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    bad_words_ids: tuple[tuple[int, ...], ...]
    forced_bos_token_id: int | None
    eos: tuple[int, ...]
    pad: int
    start: int
    closing: int | None
    output_scores: bool
    return_dict_in_generate: bool

    @property
    def copies(self) -> int:
        """Rows of the batch for each sentence: its beams, or its samples."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    def rows(self, of_sentences: NDArray[Any]) -> NDArray[Any]:
        """Repeat what there is for each sentence for each of its rows."""
        return np.repeat(of_sentences, self.copies, axis=0)

    def progress(self, *, drops_finished: bool) -> Progress:
        """The rows of greedy search or sampling."""
        return Progress(
            self.rows(self.limits),
            eos=self.eos,
            pad=self.pad,
            closing=self.closing,
            drops_finished=drops_finished,
        )

    def beam_search(self, *, drops_finished: bool) -> BeamSearch:
        """The beams of beam search."""
        closing = self.closing
        if self.beam_scoring == "original" and self.eos:
            closing = self.eos[0]
        return BeamSearch(
            self.limits,
            self.prompts,
            beams=self.num_beams,
            returned=self.num_return_sequences,
            eos=self.eos,
            pad=self.pad,
            closing=closing,
            scoring=self.beam_scoring,
            length_penalty=self.length_penalty,
            early_stopping=self.early_stopping,
            drops_finished=drops_finished,
        )


def settle(
    config: XLMConfig,
    kind: Kind,
    settings: Mapping[str, Any],
    *,
    own: Any,
    given: Any = None,
    known: Sequence[str] = (),
    prompts: NDArray[np.int64],
    sources: NDArray[np.int64] | None = None,
    draw_seed: Callable[[], int],
) -> Settled:
    """Decide what a call of `generate` does.

    A setting of the call counts before that of the configuration which it was given, and this
    before the model's own.

    Args:
        config: The model's.
        kind: What generates.
        settings: Keyword arguments of the call, but for tensors and callables.
        own: The model's generation configuration.
        given: That of the call.
        known: The call's other arguments, for messages.
        prompts: int64, shape (sentences,): tokens of each row before anything is generated,
            without padding; of masked models with it.
        sources: int64, shape (sentences,): tokens of the sources of translations.
        draw_seed: Draws a seed where none is given.

    Raises:
        InputError: For settings that contradict each other, the model or its input.
        UnknownArgumentError: For what is not known or not followed.
    """
    for name, value in settings.items():
        if name not in SETTINGS:
            refuse_setting("generate", name, value, known)
    merged = GenerationConfig.of(own)
    if given is not None:
        merged = merged.with_settings(GenerationConfig.of(given).to_dict())
    for name, value in merged.extra.items():
        if name in UNSUPPORTED:  # keys that nobody knows were named when they were read
            refuse_setting("generate, by its generation configuration,", name, value)
    merged = merged.with_settings({name: settings[name] for name in settings if name in SETTINGS})
    if settings.get("max_length") is not None and settings.get("max_new_tokens") is not None:
        raise InputError(
            f"max_length={settings['max_length']} and "
            f"max_new_tokens={settings['max_new_tokens']} were given: give one of them."
        )
    _check_combination(config, kind, merged, settings)
    eos = _ends(config, kind, merged, settings)
    scoring = merged.beam_scoring or ("transformers" if kind == "masked" else "original")
    says_length = merged.says_length or settings.get("max_length") is not None
    max_length = merged.max_length if says_length else None
    limits = _limits(config, kind, merged, prompts, sources, max_length=max_length)
    minimums = np.maximum((merged.min_length or 0) - prompts, merged.min_new_tokens or 0).clip(
        min=0
    )
    for sentence in np.flatnonzero(minimums > limits).tolist():
        raise InputError(
            f"sentence {sentence} is to get at least {minimums[sentence]} tokens and at most "
            f"{limits[sentence]}: lower min_length or min_new_tokens, or raise the length."
        )
    if merged.forced_bos_token_id is not None and (prompts > 1).any():
        raise InputError(
            "forced_bos_token_id says which token follows the first one, but the prompt has "
            f"{prompts.max()} tokens: put it into the prompt."
        )
    seed = None
    if merged.do_sample:
        seed = checked_seed(draw_seed() if merged.seed is None else merged.seed)
    return Settled(
        kind=kind,
        sentences=len(prompts),
        prompts=prompts,
        limits=limits,
        minimums=minimums,
        max_length=None if merged.max_new_tokens is not None else max_length,
        max_new_tokens=merged.max_new_tokens,
        min_length=merged.min_length or 0,
        min_new_tokens=merged.min_new_tokens or 0,
        num_beams=merged.num_beams or 1,
        beam_scoring=scoring,
        length_penalty=_or(merged.length_penalty, 1.0),
        early_stopping=_or(merged.early_stopping, False),
        num_return_sequences=merged.num_return_sequences or 1,
        seed=seed,
        seed_is_drawn=bool(merged.do_sample) and merged.seed is None,
        temperature=_or(merged.temperature, 1.0),
        top_k=min(_or(merged.top_k, 50), config.vocab_size),
        top_p=_or(merged.top_p, 1.0),
        repetition_penalty=_or(merged.repetition_penalty, 1.0),
        no_repeat_ngram_size=merged.no_repeat_ngram_size or 0,
        bad_words_ids=_bad_words(config, merged, eos),
        forced_bos_token_id=merged.forced_bos_token_id,
        eos=eos,
        pad=_or(merged.pad_token_id, config.pad_index),
        start=_or(merged.decoder_start_token_id, config.eos_index),
        closing=eos[0] if kind == "translation" and eos else None,
        output_scores=bool(merged.output_scores),
        return_dict_in_generate=bool(merged.return_dict_in_generate),
    )


def warning_of_frame(
    config: XLMConfig, kind: Kind, ids: NDArray[np.integer], tokens: NDArray[np.bool_]
) -> str | None:
    """What to warn of if every sentence is framed as for a classifier, else None.

    Args:
        config: The model's.
        kind: What generates: "causal" or "translation".
        ids: integer, shape (sentences, tokens).
        tokens: bool, shape (sentences, tokens): False for padding; some are True in each row.
    """
    rows = np.arange(len(ids))
    last = tokens.shape[1] - 1 - tokens[:, ::-1].argmax(1)
    framed = (ids[rows, tokens.argmax(1)] == config.bos_index) & (
        ids[rows, last] == config.eos_index
    )
    return FRAME_WARNINGS[kind] if config.bos_index != config.eos_index and framed.all() else None


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_combination(
    config: XLMConfig, kind: Kind, merged: GenerationConfig, settings: Mapping[str, Any]
) -> None:
    """Raise `InputError` for settings that contradict each other or the vocabulary."""
    beams, returned = merged.num_beams or 1, merged.num_return_sequences or 1
    if merged.do_sample and beams > 1:
        raise InputError(
            f"do_sample=True and num_beams={beams} were given: beams are the best candidates here, "
            "and are not drawn. Give one of them."
        )
    if beams > 1 and 2 * beams > config.vocab_size:
        raise InputError(
            f"num_beams is {beams}: twice as many candidates are chosen of a vocabulary of "
            f"{config.vocab_size} tokens. Give fewer beams."
        )
    if returned > 1 and not merged.do_sample and returned > beams:
        raise InputError(
            f"num_return_sequences is {returned}, but there "
            f"{'is 1 beam' if beams == 1 else f'are {beams} beams'}: give num_beams of at least "
            f"{returned}, or do_sample=True."
        )
    scoring = merged.beam_scoring or ("transformers" if kind == "masked" else "original")
    if merged.early_stopping == "never" and scoring == "original" and beams > 1:
        raise InputError(
            'early_stopping is "never", which the original does not have: give True or False, or '
            'beam_scoring="transformers".'
        )
    for name in ("eos_token_id", "pad_token_id", "forced_bos_token_id", "decoder_start_token_id"):
        value = getattr(merged, name)
        for token in value if isinstance(value, list) else [value]:
            if token is not None and token >= config.vocab_size:
                raise InputError(
                    f"{name} is {token}: expected an id in [0, {config.vocab_size}), the "
                    "vocabulary."
                )
    _warn_of_unused(merged, settings, beams)


def _warn_of_unused(merged: GenerationConfig, settings: Mapping[str, Any], beams: int) -> None:
    """Warn of what the call gives and nothing follows."""
    sampling = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "seed": None}
    searching = {"length_penalty": 1.0, "early_stopping": False}
    unused = [
        *(
            n
            for n, default in sampling.items()
            if not merged.do_sample and _says(settings, n, default)
        ),
        *(n for n, default in searching.items() if beams == 1 and _says(settings, n, default)),
    ]
    if unused:
        warn(
            f"generate was given {', '.join(unused)}, which nothing follows: temperature, top_k, "
            "top_p and seed are those of do_sample=True, length_penalty and early_stopping those "
            "of num_beams > 1."
        )


def _says(settings: Mapping[str, Any], name: str, default: Any) -> bool:
    value = settings.get(name)
    return value is not None and value != default


def _ends(
    config: XLMConfig, kind: Kind, merged: GenerationConfig, settings: Mapping[str, Any]
) -> tuple[int, ...]:
    """The tokens that end a sequence; none where the call says None."""
    asked: Any = merged.eos_token_id
    if "eos_token_id" in settings and settings["eos_token_id"] is None:
        asked = []
    elif asked is None:
        asked = [] if kind == "masked" else config.eos_index
    eos = tuple(asked) if isinstance(asked, list) else (asked,)
    forced = merged.forced_eos_token_id
    if forced is not None:
        last = forced[0] if isinstance(forced, list) and len(forced) == 1 else forced
        if kind != "translation" or eos[:1] != (last,):
            raise InputError(
                f"forced_eos_token_id is {forced}: only translations end so at their limit, with "
                "the end of the sentence. Leave it out."
            )
    return eos


def _limits(
    config: XLMConfig,
    kind: Kind,
    merged: GenerationConfig,
    prompts: NDArray[np.int64],
    sources: NDArray[np.int64] | None,
    *,
    max_length: int | None,
) -> NDArray[np.int64]:
    """How many tokens each sentence may get."""
    positions = config.max_position_embeddings
    if merged.max_new_tokens is not None:
        lengths = prompts + merged.max_new_tokens
        said = f"max_new_tokens is {merged.max_new_tokens}"
    elif max_length is not None:
        lengths = np.full_like(prompts, max_length)
        said = f"max_length is {max_length}"
    elif kind == "translation" and sources is not None:
        lengths = np.minimum((1.5 * sources + 10).astype(np.int64), positions)
        lengths = np.maximum(lengths, np.minimum(prompts + 1, positions))
        said = "no length was given"
    elif kind == "translation":  # inside a graph, which decides of the sources' own lengths
        lengths = np.full_like(prompts, positions)
        said = "no length was given"
    else:
        lengths = np.minimum(prompts + NEW_TOKENS, positions)
        said = "no length was given"
    longest = int(lengths.max())
    if longest > positions:
        sentence = int(lengths.argmax())
        raise InputError(
            f"{said}, so that sentence {sentence} may get {longest} tokens, but the model has "
            f"{positions} positions (max_position_embeddings): give a smaller length"
            f"{'' if prompts[sentence] < 2 else ', or a shorter prompt'}."
        )
    for sentence in np.flatnonzero(lengths <= prompts).tolist():
        raise InputError(
            f"{said}, and sentence {sentence} has {prompts[sentence]} tokens already"
            f"{f' of {positions} positions' if prompts[sentence] >= positions else ''}: give "
            "max_new_tokens, or a shorter prompt."
        )
    return (lengths - prompts).astype(np.int64)


def _bad_words(
    config: XLMConfig, merged: GenerationConfig, eos: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Words that are not to come; an end of sentence alone is none, as in transformers."""
    words = [tuple(int(i) for i in word) for word in merged.bad_words_ids or ()]
    for word in words:
        if max(word) >= config.vocab_size:
            raise InputError(
                f"bad_words_ids holds {max(word)}: expected ids in [0, {config.vocab_size}), the "
                "vocabulary."
            )
    return tuple(word for word in words if not (len(word) == 1 and word[0] in eos))


# -- languages -------------------------------------------------------------------------------------


def language_ids(
    config: XLMConfig, name: str, value: Any, sentences: int
) -> NDArray[np.int64] | None:
    """The language of each sentence.

    Args:
        config: The model's, whose lang2id names its languages.
        name: Of the argument, for messages.
        value: An id, a name, or one of them for each sentence; or None.
        sentences: How many there are.

    Returns:
        int64, shape (sentences,), or None where nothing was given.

    Raises:
        UnknownLanguageError: For a language that the model does not have.
        InputError: If there are more or fewer than sentences.
    """
    if value is None:
        return None
    value = plain(value)
    if not isinstance(value, (list, tuple)):
        return np.full(sentences, _language_id(config, name, value), dtype=np.int64)
    if len(value) != sentences:
        raise InputError(
            f"{name} names {len(value)} languages for {sentences} sentences: give one for all, or "
            "one for each."
        )
    return np.array([_language_id(config, name, each) for each in value], dtype=np.int64)


def _language_id(config: XLMConfig, name: str, value: Any) -> int:
    table = config.lang2id or {}
    if isinstance(value, str):
        if value in table:
            return int(table[value])
        if not table:
            raise UnknownLanguageError(
                f"{name} is {value!r}, but the configuration names no languages (lang2id): give "
                f"the id, in [0, {config.n_langs})."
            )
        raise UnknownLanguageError(
            f"{name} is {value!r}: expected one of {', '.join(sorted(table))}, or its id."
            f"{nearest(value, table)}"
        )
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(
            f"{name} is {value!r:.60}: expected an id, a name, or one of them for each sentence."
        )
    if not 0 <= value < config.n_langs:
        raise UnknownLanguageError(
            f"{name} is {value}: expected an id in [0, {config.n_langs}), the languages of the "
            "model (n_langs)."
        )
    return int(value)


def refuse_missing_language(config: XLMConfig, name: str) -> NoReturn:
    """Raise `InputError` for a language that the model needs and nobody gave."""
    known = f": one of {', '.join(sorted(config.lang2id))}" if config.lang2id else ""
    raise InputError(
        f"the model has embeddings of {config.n_langs} languages, and {name} was not given: give "
        f"an id, a name, or one of them for each sentence{known}."
    )
