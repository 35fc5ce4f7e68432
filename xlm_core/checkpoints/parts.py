"""An encoder-decoder from the checkpoints of its parts: of an encoder, for the one or for both.

Source: reload_model of build_model in xlm/model/__init__.py of the original, which takes the
decoder's missing tensors from a fresh model, as here; rows of languages are taken by name here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from xlm_core.checkpoints.fitting import class_of
from xlm_core.checkpoints.matching import match_checkpoint
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.config import XLMConfig, differing_fields
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError, refuse_unknown_arguments
from xlm_core.weights import ENCODER_DECODER, PARTS, tensors_of

_LANGUAGES = "lang_embeddings.weight"
# What the two parts may differ in: depth; and how a model was trained to see its positions.
_OWN = (
    "n_layers",
    "encoder_layers",
    "decoder_layers",
    "causal",
    "is_encoder_decoder",
    "has_lang_embeddings",  # which has a message of its own
)
_OF_HEADS = ("num_labels", "start_n_top", "end_n_top")
_SPECIAL_TOKENS = ("eos_index", "unk_index")


@dataclass(frozen=True)
class _Part:
    """One part: its configuration, and its tensors by their paths in an encoder.

    `words` is its vocabulary, if that is known.
    """

    name: Literal["encoder", "decoder"]
    source: str
    config: XLMConfig
    tensors: Mapping[str, LazyTensor]
    left_out: tuple[str, ...]
    words: Any


def join_parts(
    encoder: Checkpoint | None, decoder: Checkpoint | None, overrides: Mapping[str, Any]
) -> Checkpoint:
    """An encoder-decoder whose parts are those of two checkpoints.

    What neither holds (a decoder's attention to its source, and the norm after it; languages that
    only the other part knows; a part that is None) is in `may_start` and `fresh_rows`.

    Args:
        encoder, decoder: Each an encoder with any head or none, or an encoder-decoder, of which
            the part of the same name is taken. None: this part starts afresh.
        overrides: Fields of the configuration; encoder_layers and decoder_layers take the first
            layers of each, n_layers those of both.

    Raises:
        CheckpointError: If one of them is no whole encoder, has pruned heads or fewer layers than
            asked for, or the two differ in what an encoder-decoder has once.
        UnknownArgumentError: For an override that is no field.
    """
    opened: dict[Literal["encoder", "decoder"], Checkpoint | None]
    opened = {"encoder": encoder, "decoder": decoder}
    parts = [_part(name, each) for name, each in opened.items() if each is not None]
    _refuse_differences(parts)
    first = parts[0].config
    unknown = [name for name in overrides if not first.is_setting(name)]
    refuse_unknown_arguments("from_pretrained", unknown, ["encoder", "decoder", *first])
    given = {name: value for name, value in overrides.items() if value is not None}
    for name in (f"{part.name}_layers" for part in parts):
        if given.get(name) in (0, -1):  # others' files leave a depth open so; nobody asks for it
            raise CheckpointError(f"{name} is {given[name]}: expected at least 1.")
    depths: dict[str, Any] = {
        f"{part.name}_layers": given.get("n_layers", part.config.n_layers) for part in parts
    }
    languages = _languages(parts, given)
    config = first.copy(
        **{
            "architectures": [ENCODER_DECODER],
            "causal": False,
            "is_encoder": False,
            "is_encoder_decoder": True,
            **languages,
            **depths,
            **given,
        }
    )
    layers = {config.part(name).n_layers for name in PARTS}
    if len(layers) == 1:
        config = config.copy(n_layers=layers.pop(), encoder_layers=None, decoder_layers=None)
    tensors: dict[str, LazyTensor] = {}
    rows: dict[str, tuple[int, ...]] = {}
    for part in parts:
        asked = config.part(part.name).n_layers
        if asked > part.config.n_layers:
            said = f"{part.name}_layers"
            raise CheckpointError(
                f"{said if said in given else 'n_layers'} is {asked}, and {part.source} has "
                f"{part.config.n_layers} layers: the first of them can be taken, or all."
            )
        for path, tensor in part.tensors.items():
            tensors[f"{part.name}.{path}"] = tensor
        if _LANGUAGES in part.tensors:
            path = f"{part.name}.{_LANGUAGES}"
            tensors[path], rows[path] = _by_name(part, config)
    paths = {spec.path for spec in tensors_of(config, ENCODER_DECODER)}
    used = next(each for each in opened.values() if each is not None)
    left_out = [f"{part.name}: {path}" for part in parts for path in part.left_out]
    return replace(
        used,
        config=config,
        tensors={path: tensor for path, tensor in tensors.items() if path in paths},
        source=" and ".join(dict.fromkeys(part.source for part in parts)),
        notes=(),
        prune={},
        may_start=frozenset(paths),
        fresh_rows={path: fresh for path, fresh in rows.items() if fresh},
        beside=(*left_out, *(path for path in tensors if path not in paths)),
    )


def _part(name: Literal["encoder", "decoder"], checkpoint: Checkpoint) -> _Part:
    """The tensors of a checkpoint that a part is made of; its output layer may be missing."""
    config, stem, architecture = checkpoint.config, "", "XLMWithLMHeadModel"
    if config.pruned_heads or checkpoint.prune:
        raise CheckpointError(
            f"{checkpoint.source} has pruned heads, {config.pruned_heads}: an encoder-decoder has "
            "all of its heads."
        )
    if class_of(checkpoint) == ENCODER_DECODER:
        config, stem, architecture = config.part(name), f"{name}.", ENCODER_DECODER
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    tensors = {
        spec.path.removeprefix(stem): tensor
        for spec, tensor in match.found
        if spec.path.startswith(stem)
    }
    return _Part(name, checkpoint.source, config, tensors, match.left_out, _words(checkpoint))


def _words(checkpoint: Checkpoint) -> Any:
    """The vocabulary beside a checkpoint, comparable with another's; None: not known."""
    if checkpoint.original is not None and checkpoint.original.words is not None:
        return checkpoint.original.words
    try:
        return json.loads((checkpoint.folder / "vocab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _refuse_differences(parts: list[_Part]) -> None:
    """Raise `CheckpointError` where two parts differ in what an encoder-decoder has once."""
    if len(parts) < 2:
        return
    one, other = parts
    names = [
        field
        for field in (*differing_fields(one.config, other.config), *_SPECIAL_TOKENS)
        if getattr(one.config, field) != getattr(other.config, field)
        and field not in (*_OWN, *_OF_HEADS)
        and not field.startswith("summary_")
    ]
    if names:
        found = "; ".join(
            f"{name} is {getattr(one.config, name)!r} in {one.source} and "
            f"{getattr(other.config, name)!r} in {other.source}"
            for name in names
        )
        raise CheckpointError(
            f"encoder and decoder do not go together: {found}. Take two models of one width, "
            "vocabulary and kind; the decoder attends to what the encoder computes."
        )
    lists = [part.words for part in parts]
    if None not in lists and type(lists[0]) is type(lists[1]) and lists[0] != lists[1]:
        raise CheckpointError(
            f"encoder and decoder do not go together: {one.source} and {other.source} have "
            "vocabularies of one size and of different words."
        )
    tables = [part.config.has_lang_embeddings for part in parts]
    if tables[0] != tables[1]:
        with_table, without = (one, other) if tables[0] else (other, one)
        raise CheckpointError(
            f"encoder and decoder do not go together: {with_table.source} has embeddings of "
            f"{with_table.config.n_langs} languages, {without.source} has none."
        )


def _languages(parts: list[_Part], given: Mapping[str, Any]) -> dict[str, Any]:
    """The languages of all parts, those of the first under their numbers there."""
    if not parts[0].config.has_lang_embeddings:
        return {}
    if (table := given.get("lang2id")) is not None:
        # Of a part that names none, all rows stay where they are.
        nameless = [part.config.n_langs for part in parts if part.config.lang2id is None]
        count = max(max(table.values()) + 1, *nameless, 0)
        return {"lang2id": dict(table), "id2lang": None, "n_langs": count}
    tables = [part.config.lang2id for part in parts]
    sizes = {part.config.n_langs for part in parts}
    if None in tables:
        if len(sizes) > 1:
            raise CheckpointError(
                f"encoder and decoder know {' and '.join(map(str, sorted(sizes)))} languages, and "
                "not both by name: give lang2id= to each folder's config.json."
            )
        named = next((table for table in tables if table is not None), None)
        return {} if named is None else {"lang2id": dict(named)}
    merged = dict(tables[0] or {})
    count = parts[0].config.n_langs
    for table in tables[1:]:
        for name in sorted(table or {}, key=(table or {}).__getitem__):
            if name not in merged:
                merged[name] = count
                count += 1
    return {"lang2id": merged, "id2lang": None, "n_langs": count}


def _by_name(part: _Part, config: XLMConfig) -> tuple[LazyTensor, tuple[int, ...]]:
    """The rows of a part's languages under the numbers of `config`, and which numbers it lacks."""
    table = part.tensors[_LANGUAGES]
    own, names = part.config.lang2id, config.lang2id
    if own is None or names is None or (own == names and config.n_langs == table.shape[0]):
        return table, ()
    rows = table.read()
    taken = np.zeros((config.n_langs, rows.shape[1]), rows.dtype)
    known = {number: own[name] for name, number in names.items() if name in own}
    # Rows that neither names keep their numbers.
    nameless = set(range(len(rows))) - {*own.values(), *names.values()}
    known |= {number: number for number in nameless if number < config.n_langs}
    for number, row in known.items():
        taken[number] = rows[row]
    fresh = tuple(number for number in range(config.n_langs) if number not in known)
    return LazyTensor.of(taken), fresh
