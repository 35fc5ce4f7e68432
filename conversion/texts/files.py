"""`fill_mask_files`, `score_files`, `encode_files`: files of lines to files of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TextIO

from conversion.line_by_line.limits import Limits
from conversion.line_by_line.run import Summary, run_line_by_line
from conversion.opening.languages import language_of
from conversion.opening.models import file_fingerprints, fingerprint, framework_of, open_model
from conversion.opening.tokenizers import (
    bare_words_may_continue,
    ids_of_subwords,
    open_tokenizer_of,
)
from conversion.texts.npy import fill_in, npy_header
from conversion.texts.options import ModelSource, Reading
from conversion.texts.work import EncodingWork, FillingWork, ScoringWork
from xlm_core.checkpoints.fitting import class_of
from xlm_core.checkpoints.opening import Checkpoint, open_checkpoint
from xlm_core.errors import InputError
from xlm_core.texts.embeddings import SENTENCE_POOLINGS, EncodeOptions, Encoder
from xlm_core.texts.filling import MaskFilling
from xlm_core.texts.forward import Forward
from xlm_core.texts.preparing import Preparation
from xlm_core.texts.scoring import Scoring
from xlm_core.weights import ENCODER_DECODER

_LANGUAGE_MODEL = "XLMWithLMHeadModel"
_ENCODER = "XLMModel"


def fill_mask_files(
    source: ModelSource,
    inputs: Sequence[str] = (),
    output: str | None = None,
    *,
    reading: Reading | None = None,
    top_k: int | None = None,
    targets: Iterable[str | int] | None = None,
    mask: str | None = None,
    json: bool = False,
    limits: Limits | None = None,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Summary:
    """Fill the masks of lines.

    Without JSON, each filling is a line `NUMBER ||| MASK ||| TOKEN ||| PROBABILITY`, with the
    numbers of the line and of the mask within it counted from 0.

    Args:
        source: A masked language model.
        inputs, output, limits, overwrite, terminal: As in `run_line_by_line`.
        reading: How lines become ids.
        top_k, targets, mask: As in the families' `fill_mask`.
        json: Write a JSON object for each line.

    Raises:
        XLMError: If the model or its tokenizer cannot be opened.
        InputError: For a model that fills no masks, a line without one, and as in
            `run_line_by_line`.
    """
    tool = _Tool("fill-mask", source, reading or Reading(), limits or Limits())
    tool.check_language_model()
    forward = tool.forward(_LANGUAGE_MODEL)
    candidates = None if targets is None else list(targets)
    filling = MaskFilling(
        forward,
        tool.preparation,
        top_k=top_k,
        targets=candidates,
        mask=mask,
        batch_size=tool.limits.batch_size,
    )
    work = FillingWork(filling, tool.preparation, tool.lang, json=json)
    options = {"top_k": top_k, "targets": candidates, "mask": mask, "json": json}
    return tool.run(work, inputs, output, options, overwrite=overwrite, terminal=terminal)


def score_files(
    source: ModelSource,
    inputs: Sequence[str] = (),
    output: str | None = None,
    *,
    reading: Reading | None = None,
    src_lang: str | None = None,
    json: bool = False,
    limits: Limits | None = None,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Summary:
    """Score lines: the log-probability of each, on a line of its own.

    For an encoder-decoder, a line is a source, a tab and its translation.

    Args:
        source: A language model, masked or causal, or an encoder-decoder.
        reading: How lines become ids; its `lang` is that of translations.
        src_lang: The language of sources.
        inputs, output, json, limits, overwrite, terminal: As in `fill_mask_files`.

    Raises:
        XLMError: If the model or its tokenizer cannot be opened.
        InputError: For a model without an output layer, and as in `run_line_by_line`.
    """
    tool = _Tool("score", source, reading or Reading(), limits or Limits())
    translates = tool.architecture == ENCODER_DECODER
    if translates:
        tool.preparation.language(language_of(src_lang), "src_lang")
    else:
        tool.check_language_model()
        if src_lang is not None:
            raise InputError(
                f"src_lang={src_lang!r} was given, but {source.model} has no decoder that "
                "translates."
            )
    forward = tool.forward(ENCODER_DECODER if translates else _LANGUAGE_MODEL)
    work = ScoringWork(
        Scoring(forward, tool.preparation, batch_size=tool.limits.batch_size),
        tool.preparation,
        tool.lang,
        json=json,
        translates=translates,
        src_lang=language_of(src_lang),
    )
    options = {"src_lang": src_lang, "json": json}
    return tool.run(work, inputs, output, options, overwrite=overwrite, terminal=terminal)


def encode_files(
    source: ModelSource,
    inputs: Sequence[str] = (),
    output: str | None = None,
    *,
    reading: Reading | None = None,
    pooling: str = "mean",
    layer: int = -1,
    include_frame: bool | None = None,
    normalize_embeddings: bool = False,
    vector_dtype: str | None = None,
    json: bool = False,
    limits: Limits | None = None,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Summary:
    """Encode lines: one vector for each.

    A file whose name ends in .npy holds one array, shape (lines, hidden), which `numpy.load(name,
    mmap_mode="r")` maps into memory. Any other output is text: numbers with blanks between them.

    Args:
        source: Any model; its encoder is taken.
        reading: How lines become ids.
        pooling, layer, include_frame, normalize_embeddings: As in the families' `encode`; the
            vectors of tokens and words are written as JSON only.
        vector_dtype: The `dtype` of `encode`.
        inputs, output, json, limits, overwrite, terminal: As in `fill_mask_files`.

    Raises:
        XLMError: If the model or its tokenizer cannot be opened.
        InputError: For options that make no sense together, and as in `run_line_by_line`.
    """
    tool = _Tool("encode", source, reading or Reading(truncation=True), limits or Limits())
    given = EncodeOptions(
        pooling=pooling,
        layer=layer,
        include_frame=include_frame,
        normalize_embeddings=normalize_embeddings,
        dtype=vector_dtype or ("float64" if source.dtype == "float64" else "float32"),
        batch_size=tool.limits.batch_size,
    )
    given.check(tool.layers)
    binary = output is not None and output.endswith(".npy")
    if output is not None and output.endswith((".npy.gz", ".npy.xz", ".npy.bz2")):
        raise InputError(
            f"{output} is the name of a compressed array, which cannot be written in parts: give a "
            "name that ends in .npy, or one of compressed text, such as vectors.txt.gz."
        )
    if binary and json:
        raise InputError(f"{output} is an array, and json=True asks for text: choose one.")
    if not json and pooling not in SENTENCE_POOLINGS:
        raise InputError(
            f"pooling={pooling!r} gives as many vectors as a line has {pooling}: they are written "
            "with json=True."
        )
    forward = tool.forward(_ENCODER)
    encoder = Encoder(forward, tool.preparation, given)
    work = EncodingWork(encoder, tool.preparation, tool.lang, json=json, binary=binary)
    width, written = forward.config.emb_dim, given.dtype or "float32"
    options = {**asdict(given), "batch_size": None, "json": json, "binary": binary}
    return tool.run(
        work,
        inputs,
        output,
        options,
        overwrite=overwrite,
        terminal=terminal,
        header=npy_header(0, width, written) if binary else b"",
        finish=partial(fill_in, width=width, dtype=written) if binary else None,
    )


class _Tool:
    """What the three have in common.

    Args:
        command: The name of the command.
        source: The model and its tokenizer.
        reading: How lines become ids.
        limits: How many lines are computed together.

    Attributes:
        architecture: The class of the checkpoint.
        layers: How many its encoder has.
        lang: The language of the lines.
        preparation: Turns lines into ids.

    Raises:
        XLMError: If the checkpoint or its tokenizer cannot be opened.
        InputError: For a reading that makes no sense.
    """

    def __init__(self, command: str, source: ModelSource, reading: Reading, limits: Limits) -> None:
        limits.check()
        self._command, self._source, self._reading, self.limits = command, source, reading, limits
        self._checkpoint: Checkpoint = open_checkpoint(source.model)
        self.architecture = class_of(self._checkpoint)
        config = self._checkpoint.config
        is_pair = self.architecture == ENCODER_DECODER
        self.layers = config.part("encoder").n_layers if is_pair else config.n_layers
        tokenizer = open_tokenizer_of(
            self._checkpoint,
            folder=source.tokenizer,
            codes=source.codes,
            mode=source.mode,
            input_is_bpe=source.input_is_bpe,
        )

        bare = bare_words_may_continue(self._checkpoint)

        def ids_of(text: str) -> list[int]:
            return ids_of_subwords(tokenizer, text.split(), bare_may_continue=bare)

        self.preparation = Preparation(
            config,
            tokenizer,
            frame=reading.frame,
            truncation=reading.truncation,
            max_length=reading.max_length,
            ids_of=ids_of if source.input_is_bpe else None,
        )
        self.lang = language_of(reading.lang)
        # Raises before the framework is loaded, also if a language needs what is not installed.
        name, _ = self.preparation.language(self.lang)
        tokenizer.tokenize("", lang=name)

    def check_language_model(self) -> None:
        """Refuse a checkpoint without an output layer over the vocabulary.

        Raises:
            InputError: If it is one.
        """
        if self.architecture != _LANGUAGE_MODEL:
            raise InputError(
                f"{self._source.model} is a checkpoint of {self.architecture}: expected one of "
                f"{_LANGUAGE_MODEL}, with an output layer over the vocabulary."
            )

    def forward(self, architecture: str) -> Forward:
        """Open the model as this class."""
        self._framework = framework_of(self._source.framework)
        opened = open_model(
            self._source.model,
            architecture,
            framework=self._framework,
            dtype=self._source.dtype,
            device=self._source.device,
        )
        forward: Forward = opened.family.texts.forward.TextForward(opened.model)
        return forward

    def run(
        self,
        work: Any,
        inputs: Sequence[str],
        output: str | None,
        options: dict[str, Any],
        **more: Any,
    ) -> Summary:
        """Run line by line; `options` and what all commands share decide about the results."""
        source = self._source
        files = file_fingerprints(tokenizer=source.tokenizer, codes=source.codes)
        decisive = {
            "command": self._command,
            "model": fingerprint(self._checkpoint),
            "framework": self._framework,
            "dtype": source.dtype or "float32",
            "texts": {**files, "mode": source.mode, "input_is_bpe": source.input_is_bpe},
            "reading": asdict(self._reading),
            **options,
        }
        return run_line_by_line(work, inputs, output, options=decisive, limits=self.limits, **more)
