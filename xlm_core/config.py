"""`XLMConfig`: the shape and the behaviour of an XLM model, in every published spelling.

Reads `config.json` of transformers 4 and 5, the whole `params` dumps that the 17- and
100-language checkpoints ship as their config.json, and the original's `params` themselves.
Unknown keys are kept and written back. Impossible values are refused by `xlm_core.config_rules`.

Source: field names and defaults follow transformers' XLMConfig and the original's command line.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from xlm_core.config_rules import check_combination, check_field
from xlm_core.errors import ConfigError, warn
from xlm_core.whole_files import written_whole

# Alias -> field. Where one mapping holds both with different values, the alias wins for the sizes
# (as in transformers 4) and the *_index spelling wins for the special tokens: transformers 4 runs
# its models on pad_index and writes a pad_token_id that may never have been set.
SIZE_ALIASES = {
    "n_words": "vocab_size",
    "hidden_size": "emb_dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
}
TOKEN_ALIASES = {
    "bos_token_id": "bos_index",
    "eos_token_id": "eos_index",
    "pad_token_id": "pad_index",
}
ALIASES = SIZE_ALIASES | TOKEN_ALIASES | {"torch_dtype": "dtype"}


# What decides the tensors of a model and what it computes from them.
_DECISIVE = (
    "vocab_size",
    "emb_dim",
    "n_layers",
    "n_heads",
    "gelu_activation",
    "sinusoidal_embeddings",
    "causal",
    "asm",
    "has_lang_embeddings",
    "max_position_embeddings",
    "layer_norm_eps",
    "pad_index",
    "num_labels",
    "ties_output",
    "pruned_heads",
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_proj_to_labels",
    "start_n_top",
    "end_n_top",
)
_DECISIVE_IF_ASM = ("asm_cutoffs", "asm_div_value")


@dataclass(init=False, repr=False, eq=False)
class XLMConfig:
    """The configuration of an XLM model and of its heads.

    Every field can be read, given and set under its alias as well (`hidden_size` for `emb_dim`,
    `pad_token_id` for `pad_index`, ...). Keys that are no field are kept in `extra`, can be read
    as attributes, and are written back.

    Attributes:
        vocab_size: Number of word pieces (alias n_words).
        emb_dim: Width d of the model (alias hidden_size); the feed-forward layers have 4 d.
        n_layers, n_heads: Layers, and attention heads in each.
        dropout, attention_dropout: Rates in [0, 1), of activations and of attention weights.
        gelu_activation: exact erf-GELU in the feed-forward layers; else ReLU.
        sinusoidal_embeddings: Positions are a fixed table of sines; else learned.
        causal: Position i attends to positions up to i only.
        asm, asm_cutoffs, asm_div_value: Adaptive softmax as output layer, its cluster borders
            (increasing, inside the vocabulary), and the factor by which clusters narrow.
        n_langs, use_lang_emb: Languages, and whether each has an embedding (only if n_langs > 1).
        max_position_embeddings: Rows of the position table; the longest sequence.
        embed_init_std, init_std: Standard deviations of fresh embeddings and matrices.
        layer_norm_eps: Added to the variance in every layer normalisation.
        bos_index, eos_index, pad_index, unk_index, mask_index: Ids of the special tokens.
        mask_token_id, lang_id: What transformers' generation appends, and its language.
        is_encoder: False is the original's decoder.
        summary_type: Which hidden state stands for the sequence: first, last, mean, cls_index.
        summary_use_proj, summary_proj_to_labels: Project it, and to num_labels (else to emb_dim).
        summary_activation: Activation after the projection, or None.
        summary_first_dropout, summary_last_dropout: Rates before and after it.
        start_n_top, end_n_top: Beam sizes of the SQuAD beam head.
        tie_word_embeddings: The output matrix is the word embedding (never with asm).
        chunk_size_feed_forward: Positions per feed-forward call, to save memory; 0 is all.
        pruned_heads: Layer -> heads removed from it; layer -1 is the last.
        id2label, label2id: Names of the classes; `num_labels` is their number, and resets them.
        problem_type: regression, single_label_classification, multi_label_classification, or
            None: decided by num_labels and the labels' dtype at each call.
        lang2id, id2lang: The language table, or None.
        output_attentions, output_hidden_states, return_dict: Defaults of the call's arguments.
        dtype: Name of the dtype in which the weights were saved, or None.
        architectures: Class names (transformers' PyTorch names) that the folder holds, or None.
        extra: All other keys.

    Raises:
        ConfigError: For a value that cannot be; the message names field, value and rule.
    """

    model_type: ClassVar[str] = "xlm"
    attribute_map: ClassVar[dict[str, str]] = ALIASES

    vocab_size: int = 30145
    emb_dim: int = 2048
    n_layers: int = 12
    n_heads: int = 16
    dropout: float = 0.1
    attention_dropout: float = 0.1
    gelu_activation: bool = True
    sinusoidal_embeddings: bool = False
    causal: bool = False
    asm: bool = False
    asm_cutoffs: list[int] | None = None
    asm_div_value: float = 4.0
    n_langs: int = 1
    use_lang_emb: bool = True
    max_position_embeddings: int = 512
    embed_init_std: float = 2048**-0.5
    init_std: float = 0.02
    layer_norm_eps: float = 1e-12
    bos_index: int = 0
    eos_index: int = 1
    pad_index: int = 2
    unk_index: int = 3
    mask_index: int = 5
    mask_token_id: int | None = 0
    lang_id: int | None = 0
    is_encoder: bool = True
    summary_type: str = "first"
    summary_use_proj: bool = True
    summary_activation: str | None = None
    summary_proj_to_labels: bool = True
    summary_first_dropout: float = 0.1
    summary_last_dropout: float = 0.0
    start_n_top: int = 5
    end_n_top: int = 5
    tie_word_embeddings: bool = True
    chunk_size_feed_forward: int = 0
    pruned_heads: dict[int, list[int]] | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    lang2id: dict[str, int] | None = None
    id2lang: dict[int, str] | None = None
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True
    dtype: str | None = None
    architectures: list[str] | None = None

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "extra", {})
        named = {field.name: field.default for field in fields(self)}
        for name, default in named.items():
            object.__setattr__(self, name, copy.copy(default))
        self.pruned_heads = {}

        values = _resolve_aliases({name: _plain(value) for name, value in values.items()})
        found = values.pop("model_type", self.model_type)
        if found != self.model_type:
            raise ConfigError(
                f"model_type is {found!r}: expected {self.model_type!r}. "
                "This library opens XLM checkpoints only."
            )
        if values.get("share_inout_emb") is False:
            values.setdefault("tie_word_embeddings", False)
        num_labels = values.pop("num_labels", None)
        for name, value in values.items():
            setattr(self, name, value)
        if self.id2label is None:
            self.num_labels = 2 if num_labels is None else num_labels
        elif num_labels not in (None, len(self.id2label)):
            raise ConfigError(
                f"num_labels is {num_labels!r}, but id2label names {len(self.id2label)} classes: "
                "give one of them, or make them agree."
            )
        if self.label2id is None:
            self.label2id = {label: index for index, label in self._id2label().items()}
        if self.lang2id is not None and self.id2lang is None:
            self.id2lang = {index: name for name, index in self.lang2id.items()}
        elif self.id2lang is not None and self.lang2id is None:
            self.lang2id = {name: index for index, name in self.id2lang.items()}
        self.validate()

    def __setattr__(self, name: str, value: Any) -> None:
        name = ALIASES.get(name, name)
        if name in self.__dataclass_fields__:
            object.__setattr__(self, name, check_field(name, _plain(value)))
        elif name == "num_labels":
            object.__setattr__(self, name, value)
        else:
            if _is_too_deep(value):
                raise ConfigError(f"{name:.60} holds values nested too deeply to be written.")
            # A key of a file may have the name of a method: then it is kept, but hidden.
            self.extra[name] = value

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not a field.
        if name in ALIASES:
            return getattr(self, ALIASES[name])
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(f"XLMConfig has no field {name!r} and its file gave none")

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            ConfigError: With the field, its value and the rule.
        """
        check_combination(self)

    def _id2label(self) -> dict[int, str]:
        return self.id2label or {}

    @property
    def num_labels(self) -> int:
        """Number of classes; setting it to another number names them LABEL_0, LABEL_1, ..."""
        return len(self._id2label())

    @num_labels.setter
    def num_labels(self, value: int) -> None:
        count = check_field("num_labels", value)
        if self.id2label is None or len(self.id2label) != count:
            self.id2label = {index: f"LABEL_{index}" for index in range(count)}
            self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.emb_dim // self.n_heads

    @property
    def has_lang_embeddings(self) -> bool:
        """Whether the model holds a language table."""
        return self.n_langs > 1 and self.use_lang_emb

    @property
    def ties_output(self) -> bool:
        """Whether the output matrix is the word embedding."""
        return self.tie_word_embeddings and not self.asm

    @property
    def use_return_dict(self) -> bool:
        """Default of `return_dict`; False when `torchscript` was set, as in transformers."""
        return self.return_dict and not self.extra.get("torchscript", False)

    def heads_of(self, layer: int) -> list[int]:
        """The heads that remain in `layer`, in increasing order."""
        table = self.pruned_heads or {}
        pruned = {*table.get(layer, ()), *table.get(layer - self.n_layers, ())}
        return [head for head in range(self.n_heads) if head not in pruned]

    @property
    def summary_width(self) -> int:
        """Width of the sequence summary."""
        to_labels = self.summary_use_proj and self.summary_proj_to_labels and self.num_labels > 0
        return self.num_labels if to_labels else self.emb_dim

    def to_dict(self) -> dict[str, Any]:
        """All fields and extra keys, JSON-ready, in both spellings of the special tokens."""
        result: dict[str, Any] = {key: _json_ready(value) for key, value in self.extra.items()}
        result |= {field.name: copy.deepcopy(getattr(self, field.name)) for field in fields(self)}
        for name in ("id2label", "id2lang", "pruned_heads"):
            if result[name] is not None:
                result[name] = {str(key): value for key, value in result[name].items()}
        for alias, name in TOKEN_ALIASES.items():
            result[alias] = result[name]
        for name in ("dtype", "lang2id", "id2lang", "architectures", "asm_cutoffs"):
            if result[name] is None:
                del result[name]
        return result | {"model_type": self.model_type}

    def to_json_string(self) -> str:
        """`to_dict` as JSON text with sorted keys."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `config.json` into `folder`, which is made if needed; a failure leaves no half."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        with written_whole(Path(folder) / "config.json") as file:
            file.write_text(self.to_json_string(), encoding="utf-8")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> XLMConfig:
        """From a mapping with the contents of a config.json; `overrides` replace its fields."""
        merged = _resolve_aliases({str(name): _plain(value) for name, value in values.items()})
        overrides = _resolve_aliases(dict(overrides))
        if "num_labels" in overrides or "id2label" in overrides:
            for name in ("id2label", "label2id", "num_labels"):
                merged.pop(name, None)
        if overrides.keys() & {"lang2id", "id2lang"}:
            merged.pop("lang2id", None)
            merged.pop("id2lang", None)
        return cls(**{**merged, **overrides})

    @classmethod
    def from_facebook(cls, params: Any, **overrides: Any) -> XLMConfig:
        """From the `params` of an original checkpoint: a mapping or an argparse namespace.

        Arrays and tensors among them (sampling statistics) are left out. `causal` becomes True
        where the model was trained with causal steps only.
        """
        mapping = params if isinstance(params, Mapping) else vars(params)
        values = {name: value for name, value in mapping.items() if not _is_array(value)}
        if values.get("clm_steps") and not values.get("mlm_steps"):
            values.setdefault("causal", True)
        return cls.from_dict(values, **overrides)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **overrides: Any) -> XLMConfig:
        """From a folder that holds config.json, or from such a file.

        Raises:
            ConfigError: If there is none, it is no JSON object, or a value is impossible.
        """
        file = Path(path)
        if file.is_dir():
            file = file / "config.json"
        if not file.is_file():
            raise ConfigError(f"no config.json at {file}: give a folder that holds one, or a file.")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{file} is not valid JSON: {error}") from error
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{file} holds a {type(values).__name__}: expected a JSON object.")
        try:
            return cls.from_dict(values, **overrides)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error

    def copy(self, **overrides: Any) -> XLMConfig:
        """A deep copy, with `overrides` in place of its own fields."""
        return type(self).from_dict(self.to_dict(), **overrides)

    def __copy__(self) -> XLMConfig:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> XLMConfig:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, XLMConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"XLMConfig {self.to_json_string()}"


def differing_fields(first: XLMConfig, second: XLMConfig) -> list[str]:
    """The fields in which two configurations make different models of the same tensors."""
    names = [*_DECISIVE, *(_DECISIVE_IF_ASM if first.asm and second.asm else ())]
    return [name for name in names if getattr(first, name) != getattr(second, name)]


def _resolve_aliases(values: dict[str, Any]) -> dict[str, Any]:
    """Replace aliases by field names; see `ALIASES` for which spelling wins."""
    result = {name: value for name, value in values.items() if name not in ALIASES}
    for alias, name in ALIASES.items():
        if alias not in values:
            continue
        value = values[alias]
        if alias in TOKEN_ALIASES and (name in values or value is None):
            continue
        if alias in SIZE_ALIASES and name in values and values[name] != value:
            warn(
                f"config gives {alias}={value!r} and {name}={values[name]!r}, two spellings of "
                f"one field: {alias} is used. Remove one of them."
            )
        if alias == "torch_dtype" and values.get("dtype") is not None:
            continue
        result[name] = value
    return result


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and tuple(value.shape) != ()


def _plain(value: Any) -> Any:
    """A numpy scalar as the Python number it stands for; everything else unchanged."""
    if hasattr(value, "item") and hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        return value.item()
    return value


def _is_too_deep(value: Any, deepest: int = 100) -> bool:
    """Whether containers lie more than `deepest` in each other; asked without recursion."""
    level = [value]
    for _ in range(deepest):
        level = [
            entry
            for container in level
            if isinstance(container, (Mapping, list, tuple))
            for entry in (container.values() if isinstance(container, Mapping) else container)
            if isinstance(entry, (Mapping, list, tuple))
        ]
        if not level:
            return False
    return True


def _json_ready(value: Any) -> Any:
    """An extra value as JSON can hold it: keys are text, tuples and sets lists."""
    value = _plain(value)
    if isinstance(value, Mapping):
        return {_json_key(key): _json_ready(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_json_ready(entry) for entry in value), key=repr)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if type(value).__name__ == "dtype" or type(value).__module__.startswith(("torch", "numpy")):
        return str(value)
    raise ConfigError(
        f"a value of type {type(value).__name__} cannot be written to JSON: {value!r}"
    )


def _json_key(key: Any) -> str:
    # The original's params use pairs of languages as keys: ("en", "fr") is written "en-fr".
    return "-".join(map(str, key)) if isinstance(key, tuple) else str(key)
