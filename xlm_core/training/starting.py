"""What the weights of a run start from: drawn, or of a checkpoint, whole or by words and languages.

Source: reload_model of build_model in xlm/model/__init__.py of the original, for checkpoints of the
same words; what is copied by name is not of the original.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from xlm_core.checkpoints import Checkpoint, match_checkpoint, open_checkpoint
from xlm_core.checkpoints.fitting import class_of
from xlm_core.checkpoints.moments import OPTIMIZER_STATE
from xlm_core.checkpoints.parts import join_parts
from xlm_core.config import XLMConfig, differing_fields
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.corpus.info import vocab_size_of
from xlm_core.errors import CheckpointError, ConfigError, OtherRunError, nearest
from xlm_core.hub import is_hub_name
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.training.config import MATCHES, TrainingConfig
from xlm_core.training.data import TrainingData, special_ids_of
from xlm_core.training.drawing import drawn_value
from xlm_core.training.rows import (
    LANGUAGE_MODEL,
    NO_FILE,
    SPECIAL_IDS,
    Copied,
    rows_by_name,
    words_of,
)
from xlm_core.training.saved import MODEL
from xlm_core.weights import ENCODER_DECODER, PARTS, name_of, tensors_of

# Names of tensors that a report lists.
_MOST_NAMES = 20
# What rows may be copied for.
_BY_NAME = ("vocab_size", "max_position_embeddings", "has_lang_embeddings", "pad_index")
_DEPTHS = ("n_layers", "encoder_layers", "decoder_layers")
_HOW = "Give match = 'words' (section start) to copy rows by name, or"


@dataclass(frozen=True)
class StartReport:
    """What weights started from.

    Attributes:
        architecture: The class, without "TF".
        sources: Of each part ("model", "encoder", "decoder"), the checkpoint; of a run that goes
            on, its own ("its checkpoint").
        copied: Of each part that was matched by words, what was copied.
        drawn: Names of the tensors that were drawn whole.
        drawn_languages: By table, the languages that only the other part had.
        left_out: Names of tensors of the checkpoints that the model has no place for.
        notes: What else is worth knowing.
    """

    architecture: str
    sources: Mapping[str, str] = field(default_factory=dict)
    copied: Mapping[str, Copied] = field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    drawn_languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """A few lines for a log."""
        if not self.sources:
            return f"{self.architecture}: all weights drawn"
        lines = [
            f"{self.architecture} from "
            + ", ".join(f"{source} ({part})" for part, source in self.sources.items())
        ]
        for part, copied in self.copied.items():
            lines += [f"{part}: {line}" for line in copied.text().split("\n")]
        for table, names in self.drawn_languages.items():
            lines.append(f"{table}: drawn for {', '.join(names)}")
        lines += [
            f"{what} ({len(names)}): {_shortened(names)}"
            for what, names in (("drawn", self.drawn), ("left out", self.left_out))
            if names
        ]
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class StartingPoint:
    """Everything that a model of either family is made of.

    Attributes:
        checkpoint: Whole: nothing of it is missing.
        report: What it was made of.
    """

    checkpoint: Checkpoint
    report: StartReport

    @property
    def architecture(self) -> str:
        """The class, without "TF"."""
        return self.report.architecture


def starting_point(
    config: TrainingConfig,
    data: TrainingData,
    base: str | os.PathLike[str] = ".",
    *,
    resumed: Path | None = None,
) -> StartingPoint:
    """What a training run starts from.

    Args:
        config: Of the run.
        data: Its tokenizer and languages.
        base: What relative paths of checkpoints are relative to.
        resumed: The checkpoint of this run that it goes on from. It holds the model, and what the
            run started from is not opened again.

    Raises:
        ConfigError, CheckpointError, TokenizerError: See `starting_point_from`.
    """
    translates = any(task.objective == "mt" for task in config.tasks)
    given = {name: getattr(config.start, name) for name in ("model", *PARTS)}
    paths = {name: _path(path, base) for name, path in given.items() if path is not None}
    if resumed is not None:
        return _resumed(resumed, translates=translates)
    if not paths:
        return _drawn(data.model_config(), translates=translates, seed=config.seed)
    return starting_point_from(
        data.tokenizer,
        **paths,
        match=config.start.match,
        lang2id=data.lang2id,
        languages=sorted({name for task in config.tasks for name in task.languages}),
        translates=translates,
        causal=any(task.objective == "clm" for task in config.tasks),
        fields=config.model,
        seed=config.seed,
    )


def starting_point_from(
    tokenizer: XLMTokenizer,
    *,
    model: str | os.PathLike[str] | None = None,
    encoder: str | os.PathLike[str] | None = None,
    decoder: str | os.PathLike[str] | None = None,
    match: str = "all",
    lang2id: Mapping[str, int] | None = None,
    languages: Sequence[str] | None = None,
    translates: bool = False,
    causal: bool | None = None,
    fields: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> StartingPoint:
    """A model for a tokenizer and languages, from a checkpoint, or from those of its parts.

    With match="all", vocabulary and languages have to be those of the checkpoint. With
    match="words", embeddings and output are copied by word, languages by name, and the rest is
    drawn.

    Args:
        tokenizer: That the model is for.
        model: A checkpoint of any layout.
        encoder, decoder: In its place, those of an encoder-decoder's parts, see
            `XLMForConditionalGeneration.from_pretrained`.
        match: "all" or "words".
        lang2id: Number of each language of the model; default: the tokenizer's.
        languages: Those that are needed; default: all of lang2id.
        translates: Whether an encoder-decoder is needed.
        causal: Of a language model; None: as the checkpoint is.
        fields: Further fields of its configuration, which may not change what its weights
            compute, such as dropout.
        seed: Of what is drawn.

    Raises:
        ConfigError: For fields that are unknown or impossible.
        CheckpointError: If a checkpoint cannot be opened, or has another vocabulary or other
            languages, or is no encoder-decoder where one is needed.
        TokenizerError: If the tokenizer of a checkpoint is damaged.
    """
    if match not in MATCHES:
        raise ConfigError(
            f"match is {match!r}: expected one of {', '.join(MATCHES)}.{nearest(match, MATCHES)}"
        )
    if (model is None) == (encoder is None and decoder is None):
        raise ConfigError("give model, or encoder and decoder, or one of these two.")
    lang2id = dict(lang2id if lang2id is not None else tokenizer.lang2id or {})
    wanted = _Wanted(
        tokenizer,
        lang2id,
        tuple(languages if languages is not None else sorted(lang2id)),
        _overrides(fields or {}, causal=causal),
        seed,
    )
    if model is not None:
        return _from_model(wanted, model, match, translates=translates)
    return _from_parts(wanted, {"encoder": encoder, "decoder": decoder}, match)


@dataclass(frozen=True)
class _Wanted:
    """What a checkpoint has to become."""

    tokenizer: XLMTokenizer
    lang2id: Mapping[str, int]
    languages: tuple[str, ...]
    overrides: Mapping[str, Any]
    seed: int

    def words(self) -> dict[str, int]:
        return self.tokenizer.get_vocab()


def _overrides(fields: Mapping[str, Any], *, causal: bool | None) -> dict[str, Any]:
    """Fields of the configuration in place of the checkpoint's.

    Raises:
        ConfigError: For one that is unknown, or that the objectives contradict.
    """
    known = XLMConfig()
    for name in fields:
        if not known.is_setting(name):
            raise ConfigError(
                f"model.{name} is unknown: expected fields of XLMConfig.{nearest(name, known)}"
            )
    if causal is None:
        return dict(fields)
    if fields.get("causal", causal) != causal:
        raise ConfigError(
            f"model.causal is {fields['causal']!r}, and the objectives train a model with "
            f"causal={causal}: leave it out."
        )
    return {**fields, "causal": causal}


def _path(given: str, base: str | os.PathLike[str]) -> str:
    here = Path(base) / given
    return given if not here.exists() and is_hub_name(given) else os.fspath(here)


# -- drawn weights -------------------------------------------------------------------------------


def _drawn(config: XLMConfig, *, translates: bool, seed: int) -> StartingPoint:
    architecture = ENCODER_DECODER if translates else LANGUAGE_MODEL
    if translates:
        config = config.of_both_parts()
    config = config.copy(architectures=[architecture])
    empty = Checkpoint(config, {}, "the configuration", file=NO_FILE)
    return StartingPoint(
        replace(empty, tensors=_with_drawn({}, config, architecture, seed)[0]),
        StartReport(architecture),
    )


def _with_drawn(
    found: Mapping[str, LazyTensor], config: XLMConfig, architecture: str, seed: int
) -> tuple[dict[str, LazyTensor], tuple[str, ...]]:
    """The tensors of a model by name, drawn where `found`, by path, lacks one; and which were."""
    tensors: dict[str, LazyTensor] = {}
    drawn = []
    for spec in tensors_of(config, architecture):
        name = str(name_of(spec, "torch", architecture))
        if (tensor := found.get(spec.path)) is not None:
            tensors[name] = tensor
        elif spec.tied_to is None and spec.trainable:
            tensors[name] = LazyTensor.of(drawn_value(spec, config, seed))
            drawn.append(name)
    return tensors, tuple(drawn)


# -- checkpoints ---------------------------------------------------------------------------------


def _resumed(checkpoint: Path, *, translates: bool) -> StartingPoint:
    opened = open_checkpoint(checkpoint / MODEL)
    architecture = class_of(opened)
    if architecture not in (
        (ENCODER_DECODER,) if translates else (ENCODER_DECODER, LANGUAGE_MODEL)
    ):
        raise OtherRunError(f"{opened.source} is of another run: it is an {architecture}.")
    return StartingPoint(opened, StartReport(architecture, {"its checkpoint": opened.source}))


def _from_model(
    wanted: _Wanted, path: str | os.PathLike[str], match: str, *, translates: bool
) -> StartingPoint:
    opened = open_checkpoint(path)
    architecture = ENCODER_DECODER if class_of(opened) == ENCODER_DECODER else LANGUAGE_MODEL
    if translates and architecture != ENCODER_DECODER:
        raise CheckpointError(
            f"start.model: {opened.source} is an encoder alone, without a decoder, and mt needs "
            "one: give it as start.encoder and as start.decoder, whose attention to the source "
            "then is drawn."
        )
    overrides = dict(wanted.overrides)
    if architecture == ENCODER_DECODER and overrides.pop("causal", False):
        raise CheckpointError(
            f"start.model: {opened.source} is an encoder-decoder, which clm does not train: "
            "give an encoder."
        )
    checkpoint, copied, notes = _matched(opened, wanted, match, overrides)
    return _completed(
        checkpoint, architecture, wanted, {"model": opened.source}, {"model": copied}, notes
    )


def _from_parts(
    wanted: _Wanted, paths: Mapping[str, str | os.PathLike[str] | None], match: str
) -> StartingPoint:
    overrides = dict(wanted.overrides)
    if overrides.pop("causal", False):
        raise ConfigError(
            "start.encoder and start.decoder make an encoder-decoder, which clm does not train: "
            "give start.model."
        )
    depths = {name: x for name, x in overrides.items() if name in _DEPTHS}
    of_part = {name: x for name, x in overrides.items() if name not in _DEPTHS}
    table = of_part.pop("lang2id", None) if match == "all" else None
    parts: dict[Literal["encoder", "decoder"], Checkpoint | None] = {}
    sources: dict[str, str] = {}
    copied: dict[str, Copied | None] = {}
    notes: tuple[str, ...] = ()
    for name in PARTS:
        path, parts[name] = paths[name], None
        if path is None:
            continue
        opened = open_checkpoint(path)
        parts[name], copied[name], said = _matched(opened, wanted, match, of_part, of_parts=True)
        if any(each.startswith(OPTIMIZER_STATE) for each in opened.dropped):
            text = "no moments of Adam are taken: it is a part. They start afresh."
            said = (*said, f"of {opened.source}, {text}")
        sources[name], notes = opened.source, (*notes, *said)
    if table is not None:
        depths["lang2id"] = table
    joined = join_parts(parts["encoder"], parts["decoder"], depths)
    if match == "all":
        joined = _with_languages(joined, wanted)
    return _completed(joined, ENCODER_DECODER, wanted, sources, copied, notes)


def _matched(
    opened: Checkpoint,
    wanted: _Wanted,
    match: str,
    overrides: Mapping[str, Any],
    *,
    of_parts: bool = False,
) -> tuple[Checkpoint, Copied | None, tuple[str, ...]]:
    """A checkpoint with the words and languages that are wanted; what was copied; notes.

    Raises:
        CheckpointError: If they are others, and are not to be copied by name.
    """
    if opened.prune or opened.config.pruned_heads:
        raise CheckpointError(
            f"{opened.source} has pruned heads, {opened.config.pruned_heads}: a run starts from "
            "a model with all of them."
        )
    _refuse_other_models(opened, overrides, match)
    _refuse_other_ids(opened, wanted, overrides, match)
    if match == "words":
        fields = {
            "vocab_size": vocab_size_of(wanted.words()),
            **special_ids_of(wanted.tokenizer),
            **_languages_by_name(opened.config, wanted),
            **overrides,
        }
        checkpoint, copied = rows_by_name(opened, wanted.words(), fields, wanted.seed)
        return checkpoint, copied, ()
    notes = _check_words(opened, wanted)
    if overrides:
        opened = replace(opened, config=opened.config.copy(**overrides))
    return (opened if of_parts else _with_languages(opened, wanted)), None, notes


def _refuse_other_models(opened: Checkpoint, overrides: Mapping[str, Any], match: str) -> None:
    """Raise `ConfigError` if fields would make another model of the same weights."""
    allowed = {"causal", "num_labels", *(_BY_NAME if match == "words" else ())}
    changed = opened.config.copy(**overrides)
    differ = [
        name
        for name in differing_fields(opened.config, changed)
        if name not in allowed and not name.startswith("summary_")
    ]
    if match == "all" and opened.config.lang2id not in (None, changed.lang2id):
        differ.append("lang2id")
    if differ:
        found = "; ".join(
            f"model.{name} is {getattr(changed, name)!r:.60}, and {opened.source} has "
            f"{getattr(opened.config, name)!r:.60}"
            for name in differ
        )
        raise ConfigError(f"{found}: leave it out, for a run that starts from a checkpoint.")


def _refuse_other_ids(
    opened: Checkpoint, wanted: _Wanted, overrides: Mapping[str, Any], match: str
) -> None:
    """Raise `ConfigError` if fields contradict the tokenizer or the languages of the run."""
    alias = XLMConfig.attribute_map
    given = {alias.get(name, name): value for name, value in overrides.items()}
    needed = special_ids_of(wanted.tokenizer)
    differ = [name for name in needed if given.get(name, needed[name]) != needed[name]]
    if match == "words":
        needed["n_langs"] = languages = _languages_by_name(opened.config, wanted)["n_langs"]
        if type(given.get("n_langs")) is int and given["n_langs"] < languages:
            differ.append("n_langs")
    if differ:
        found = "; ".join(
            f"model.{name} is {given[name]!r:.80}, and the tokenizer and the languages of the run "
            f"need {needed[name]!r}"
            for name in differ
        )
        raise ConfigError(f"{found}: leave it out.")


def _check_words(opened: Checkpoint, wanted: _Wanted) -> tuple[str, ...]:
    """Notes; raises `CheckpointError` unless a checkpoint has the tokenizer's vocabulary."""
    words, own = wanted.words(), words_of(opened)
    needed, rows = vocab_size_of(words), opened.config.vocab_size
    how = f"{_HOW} use the checkpoint's own tokenizer, and corpora that were made with it."
    if needed > rows or (own is None and needed < rows):
        raise CheckpointError(
            f"{opened.source} has a vocabulary of {rows:,} words, and the tokenizer has "
            f"{needed:,}. {how}"
        )
    if own is not None and (moved := [w for w, i in words.items() if own.get(w, -1) != i]):
        raise CheckpointError(
            f"{opened.source} has another vocabulary, of {len(own):,} words, than the tokenizer, "
            f"of {len(words):,}: {len(moved):,} of these have another id there, or none, such as "
            f"{moved[0]!r}. {how}"
        )
    special = special_ids_of(wanted.tokenizer)
    differ = [n for n in SPECIAL_IDS if special.get(n, -1) not in (-1, getattr(opened.config, n))]
    if differ:
        found = ", ".join(f"{n} {getattr(opened.config, n)} and {special[n]}" for n in differ)
        raise CheckpointError(
            f"{opened.source} and the tokenizer have different special tokens: {found}. {how}"
        )
    if own is None:
        taken = f"its {rows:,} words are taken for the tokenizer's"
        return (f"{opened.source} brings no vocabulary: {taken}",)
    return ()


def _with_languages(opened: Checkpoint, wanted: _Wanted) -> Checkpoint:
    """A checkpoint whose languages have names.

    Raises:
        CheckpointError: If it lacks one that is wanted.
    """
    config = opened.config
    own = config.lang2id
    how = f"{_HOW} choose languages that it has."
    if own is not None and {*wanted.languages} <= own.keys():
        return opened
    if not config.has_lang_embeddings and not config.use_lang_emb:
        # It looks at no language, so that names are all it lacks.
        return _renamed(opened, wanted)
    if own is None and config.n_langs == len(wanted.languages) == 1:
        # A table of more, such as the tokenizer's, would ask for embeddings.
        return _renamed(opened, replace(wanted, lang2id={wanted.languages[0]: 0}))
    if own is None:
        raise CheckpointError(
            f"{opened.source} has {_number(config.n_langs)}, and does not say which: give "
            "model.lang2id, the number of each by its name."
        )
    missing = [name for name in wanted.languages if name not in own]
    raise CheckpointError(
        f"{opened.source} has {_number(config.n_langs)} ({', '.join(own)}), and the run needs "
        f"{len(wanted.languages)} ({', '.join(wanted.languages)}): it lacks {', '.join(missing)}. "
        f"{how}"
    )


def _renamed(opened: Checkpoint, wanted: _Wanted) -> Checkpoint:
    """A checkpoint under whose weights no language lies, with those that are wanted."""
    table = dict(wanted.lang2id)
    count = max(table.values(), default=0) + 1
    return replace(opened, config=opened.config.copy(lang2id=table, id2lang=None, n_langs=count))


def _number(languages: int) -> str:
    return "1 language" if languages == 1 else f"{languages} languages"


def _languages_by_name(config: XLMConfig, wanted: _Wanted) -> dict[str, Any]:
    """The languages of a model whose rows are copied by name.

    A model of one language has no table of languages. So that what a checkpoint of several learned
    of this one is not lost, its languages stay.
    """
    table = dict(wanted.lang2id)
    if len(table) < 2 and config.has_lang_embeddings:
        own = dict(config.lang2id or {})
        for name in table:
            own.setdefault(name, max(own.values(), default=-1) + 1)
        count = max(config.n_langs, max(own.values(), default=-1) + 1)
        return {"lang2id": own, "n_langs": count}
    return {"lang2id": table, "n_langs": max(table.values(), default=0) + 1}


def _completed(
    checkpoint: Checkpoint,
    architecture: str,
    wanted: _Wanted,
    sources: Mapping[str, str],
    copied: Mapping[str, Copied | None],
    notes: tuple[str, ...],
) -> StartingPoint:
    """A checkpoint with everything that it lacks drawn, and the report."""
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    config = checkpoint.config.copy(architectures=[architecture])
    found = {spec.path: tensor for spec, tensor in match.found}
    names = {i: name for name, i in (config.lang2id or {}).items()}
    drawn_languages = {}
    for spec, tensor in match.found:
        if rows := match.fresh_rows.get(spec.path):
            table = tensor.read().copy()
            table[[*rows]] = drawn_value(spec, config, wanted.seed)[[*rows]]
            found[spec.path] = LazyTensor.of(table)
            drawn_languages[spec.path] = tuple(names.get(row, str(row)) for row in rows)
    tensors, drawn = _with_drawn(found, config, architecture, wanted.seed)
    whole = replace(
        checkpoint,
        config=config,
        tensors=tensors,
        may_start=frozenset(),
        fresh_rows={},
        beside=(),
        untie=False,
    )
    report = StartReport(
        architecture,
        sources,
        {part: each for part, each in copied.items() if each is not None},
        drawn,
        drawn_languages,
        match.left_out,
        notes,
    )
    return StartingPoint(whole, report)


def _shortened(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
