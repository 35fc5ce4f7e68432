"""`translate_files` and `generate_files`: files of lines to files of what a model writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, TextIO

from conversion.generation.models import (
    LANGUAGE_MODEL,
    Writer,
    check_language_model,
    check_translator,
)
from conversion.generation.options import Model, Search, TextOptions, WrittenAs
from conversion.generation.texts import Texts
from conversion.generation.work import Continuing, Translating, WritingWork
from conversion.line_by_line.limits import Limits
from conversion.line_by_line.run import Summary, run_line_by_line
from conversion.opening.languages import language_of
from conversion.opening.models import file_fingerprints, fingerprint, open_model
from conversion.opening.tokenizers import bare_words_may_continue, open_tokenizer_of
from xlm_core.checkpoints.opening import Checkpoint, open_checkpoint
from xlm_core.config import XLMConfig
from xlm_core.generation import GenerationConfig, language_ids, refuse_missing_language
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.weights import ENCODER_DECODER


def translate_files(
    model: Model,
    inputs: Sequence[str] = (),
    output: str | None = None,
    *,
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    search: Search | None = None,
    texts: TextOptions | None = None,
    written_as: WrittenAs | None = None,
    limits: Limits | None = None,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Summary:
    """Translate files, one line of output for each line of input.

    A line without words gives an empty line, and the model is not asked. Of a line that is longer
    than the model has positions, the rest is cut off. What is cut and what is unknown is counted.

    Args:
        model: A translation model.
        inputs, output, limits, overwrite, terminal: As in `run_line_by_line`.
        src_lang, tgt_lang: The languages by name, or by number where the model names none. A model
            without embeddings of languages needs none; the tokenizer then takes its own.
        search: How to search.
        texts: How lines become ids, and ids lines.
        written_as: What is written for a line.

    Raises:
        XLMError: If the model or its tokenizer cannot be opened.
        InputError: If it is no translation model; for languages that are missing or unknown, an
            input that is missing, an output that exists, or a search that makes no sense.
    """
    texts = texts or TextOptions()
    checkpoint = open_checkpoint(model.source)
    check_translator(checkpoint)
    search = _with_own(search or Search(), checkpoint)
    languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
    given = _languages(checkpoint.config, languages)
    tokenizer = _tokenizer(checkpoint, texts)
    names = {name: _language_name(tokenizer, value) for name, value in languages.items()}
    # Texts that cannot be encoded are refused before the framework is loaded.
    coder = Texts(
        tokenizer,
        texts,
        framing="sentence",
        lang=names["src_lang"],
        written_lang=names["tgt_lang"],
        positions=checkpoint.config.max_position_embeddings,
        bare_may_continue=bare_words_may_continue(checkpoint),
        of_original=checkpoint.original is not None,
    )

    def work_of(writer: Writer, written_as: WrittenAs) -> WritingWork:
        limit = _translation_limit(checkpoint.config, search)
        return Translating(coder, writer, search, written_as, limit=limit)

    return _run(
        "translate",
        model,
        checkpoint,
        ENCODER_DECODER,
        work_of,
        inputs,
        output,
        settings={**search.settings(), **given},
        side="right",
        search=search,
        texts=texts,
        written_as=written_as or WrittenAs(),
        languages=names,
        limits=limits,
        overwrite=overwrite,
        terminal=terminal,
    )


def generate_files(
    model: Model,
    inputs: Sequence[str] = (),
    output: str | None = None,
    *,
    lang: str | None = None,
    search: Search | None = None,
    texts: TextOptions | None = None,
    written_as: WrittenAs | None = None,
    limits: Limits | None = None,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Summary:
    """Continue the lines of files, each a prompt, one line of output for each.

    An empty line is continued from the beginning of a sentence. Of a prompt that leaves no position
    for what follows, the beginning is cut off, and counted. A masked language model warns, and
    appends a mask for every token, as transformers does.

    Args:
        model: A language model.
        lang: The language of the prompts and of what follows, as `src_lang` of `translate_files`.
        inputs, output, search, texts, written_as, limits, overwrite, terminal: As in
            `translate_files`.

    Raises:
        XLMError: If the model or its tokenizer cannot be opened.
        InputError: If it is no language model, and as in `translate_files`.
    """
    texts = texts or TextOptions()
    checkpoint = open_checkpoint(model.source)
    check_language_model(checkpoint)
    search = _with_own(search or Search(), checkpoint)
    config = checkpoint.config
    given = _languages(config, {"tgt_lang": lang})
    tokenizer = _tokenizer(checkpoint, texts)
    name = _language_name(tokenizer, lang)
    coder = Texts(
        tokenizer,
        texts,
        framing="prompt",
        lang=name,
        written_lang=name,
        positions=_longest_prompt(config, search),
        bare_may_continue=bare_words_may_continue(checkpoint),
    )

    def work_of(writer: Writer, written_as: WrittenAs) -> WritingWork:
        causal = config.causal or model.causal
        return Continuing(coder, writer, search, written_as, equal_lengths=not causal)

    return _run(
        "generate",
        model,
        checkpoint,
        LANGUAGE_MODEL,
        work_of,
        inputs,
        output,
        settings={**search.settings(), **given},
        side="left",
        search=search,
        texts=texts,
        written_as=written_as or WrittenAs(),
        languages={"lang": name},
        limits=limits,
        overwrite=overwrite,
        terminal=terminal,
    )


def _with_own(search: Search, checkpoint: Checkpoint) -> Search:
    """A search with the lengths and the sampling that the model's folder says, where it is silent.

    The others of its settings are `generate`'s to read: these decide how lines are cut, which
    numbers each batch draws, and whether a run can go on with other batches.
    """
    own = GenerationConfig.of_folder(checkpoint.file.parent)
    merged = own.with_settings(search.settings())
    max_length = search.max_length
    if max_length is None and merged.max_new_tokens is None and merged.says_length:
        max_length = merged.max_length
    return replace(
        search,
        max_new_tokens=merged.max_new_tokens,
        max_length=max_length,
        do_sample=merged.do_sample,
        seed=merged.seed,
    )


def _run(
    command: str,
    model: Model,
    checkpoint: Checkpoint,
    architecture: str,
    work_of: Callable[[Writer, WrittenAs], WritingWork],
    inputs: Sequence[str],
    output: str | None,
    *,
    settings: dict[str, Any],
    side: str,
    search: Search,
    texts: TextOptions,
    written_as: WrittenAs,
    languages: dict[str, str],
    limits: Limits | None,
    overwrite: bool,
    terminal: TextIO | None,
) -> Summary:
    limits = limits or Limits()
    limits.check()
    opened = open_model(
        model.source,
        architecture,
        framework=model.framework,
        dtype=model.dtype,
        device=model.device,
        **({"causal": True} if model.causal else {}),
    )
    written_as = WrittenAs(json=written_as.json, nbest=written_as.nbest or search.nbest > 1)
    writer = Writer(opened, settings, pad=checkpoint.config.pad_index, side=side)
    options = {
        "command": command,
        "model": fingerprint(checkpoint),
        "framework": opened.framework,
        "dtype": model.dtype or "float32",
        "causal": model.causal,
        "languages": languages,
        "search": {k: v for k, v in asdict(search).items() if v is not None},
        # What no option says, the model's folder may.
        "generation_config": GenerationConfig.of_folder(checkpoint.file.parent).to_dict(),
        "texts": {
            **file_fingerprints(tokenizer=texts.tokenizer, codes=texts.codes),
            "mode": texts.mode,
            "input_is_bpe": texts.input_is_bpe,
            "detokenize": texts.detokenize,
        },
        "written_as": asdict(written_as),
        # Rows of a batch draw their own numbers: what is drawn for a line depends on its batch.
        "batches": asdict(limits) if search.do_sample else None,
    }
    return run_line_by_line(
        work_of(writer, written_as),
        inputs,
        output,
        options=options,
        limits=limits,
        overwrite=overwrite,
        terminal=terminal,
    )


def _tokenizer(checkpoint: Checkpoint, texts: TextOptions) -> XLMTokenizer:
    return open_tokenizer_of(
        checkpoint,
        folder=texts.tokenizer,
        codes=texts.codes,
        mode=texts.mode,
        input_is_bpe=texts.input_is_bpe,
    )


def _languages(config: XLMConfig, given: dict[str, str | None]) -> dict[str, Any]:
    """The arguments of `generate` that say languages, checked.

    Raises:
        InputError: If one is missing or unknown.
    """
    if config.n_langs < 2 or not config.use_lang_emb:
        return {}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            refuse_missing_language(config, name)
        ids = language_ids(config, name, language_of(value), 1)
        assert ids is not None
        found[name] = int(ids[0])
    return found


def _language_name(tokenizer: XLMTokenizer, value: str | None) -> str:
    """The name by which the tokenizer knows a language; without one, its own."""
    if value is not None and value.isdecimal() and tokenizer.id2lang:
        value = tokenizer.id2lang.get(int(value), value)
    if value is None or value.isdecimal():
        return str(tokenizer.lang)
    return str(value)


def _longest_prompt(config: XLMConfig, search: Search) -> int:
    """Most ids of a prompt after which something can follow."""
    longest = config.max_position_embeddings - (search.max_new_tokens or 1)
    if search.max_length is not None:
        longest = min(longest, search.max_length - 1)
    return max(longest, 1)


def _translation_limit(config: XLMConfig, search: Search) -> Callable[[int], int]:
    """How many ids a translation may have, of the number of ids of its source."""

    def limit(tokens: int) -> int:
        if search.max_new_tokens is not None:
            return search.max_new_tokens + 1
        if search.max_length is not None:
            return search.max_length
        return min(int(1.5 * tokens + 10), config.max_position_embeddings)

    return limit
