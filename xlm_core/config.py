"""`XLMConfig`: the shape and the behaviour of an XLM model, in every published spelling.

Reads `config.json` of transformers 4 and 5, the whole `params` dumps that the 17- and
100-language checkpoints ship as their config.json, and the original's `params` themselves.
Unknown keys are kept and written back. Impossible values are refused by `xlm_core.config_rules`,
keys by which a model would compute something else by `xlm_core.config_keys`.

Source: field names and defaults follow transformers' XLMConfig and the original's command line.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from xlm_core.config_keys import (
    FLAUBERT,
    PUBLISHED_DEFAULTS,
    is_readable,
    refuse_other_computation,
    warn_of_keys,
    warn_of_typos,
)
from xlm_core.config_rules import check_combination, check_field
from xlm_core.errors import (
    CheckpointError,
    ConfigError,
    ConfigFileError,
    UnknownArgumentError,
    refuse_unknown_arguments,
    warn,
)
from xlm_core.hub import WantedFiles, fetch, is_hub_name, quirks
from xlm_core.loading_arguments import (
    FILE_ARGUMENTS,
    LOADING_ARGUMENTS,
    PUBLISHED_FOLDER,
    FileArguments,
    file_arguments,
    given_path,
    needed_path,
    settle_loading,
    settle_saving,
    settle_token,
)
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


# Whether warnings about keys are left to whoever reads or copies, which knows where they are from.
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)

# What decides the tensors of a model and what it computes from them.
_DECISIVE = (
    "vocab_size",
    "emb_dim",
    "n_layers",
    "n_heads",
    "gelu_activation",
    "sinusoidal_embeddings",
    "is_encoder_decoder",
    "encoder_layers",
    "decoder_layers",
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

# The order in which transformers' XLMConfig takes positional arguments.
_POSITIONAL = (
    "vocab_size",
    "emb_dim",
    "n_layers",
    "n_heads",
    "dropout",
    "attention_dropout",
    "gelu_activation",
    "sinusoidal_embeddings",
    "causal",
    "asm",
    "n_langs",
    "use_lang_emb",
    "max_position_embeddings",
    "embed_init_std",
    "layer_norm_eps",
    "init_std",
    "bos_index",
    "eos_index",
    "pad_index",
    "unk_index",
    "mask_index",
    "is_encoder",
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_first_dropout",
    "start_n_top",
    "end_n_top",
    "mask_token_id",
    "lang_id",
    "pad_token_id",
    "bos_token_id",
)
# Fields that no file names where they say nothing.
_LEFT_OUT_IF_NONE = (
    "dtype",
    "lang2id",
    "id2lang",
    "architectures",
    "asm_cutoffs",
    "encoder_layers",
    "decoder_layers",
)
# Fields that every configuration of transformers has, or that its XLMConfig has only if given:
# `to_diff_dict` leaves them out where they say nothing.
_LEFT_OUT_BY_DEFAULT = (
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "dtype",
    "torch_dtype",
    "pruned_heads",
    "tie_word_embeddings",
    "chunk_size_feed_forward",
    "architectures",
    "id2label",
    "label2id",
    "problem_type",
    "asm_cutoffs",
    "asm_div_value",
    "summary_last_dropout",
    "lang2id",
    "id2lang",
)


@dataclass(init=False, repr=False, eq=False)
class XLMConfig:
    """The configuration of an XLM model and of its heads.

    Every field can be read, given and set under its alias as well (`hidden_size` for `emb_dim`,
    `pad_token_id` for `pad_index`, ...). Keys that are no field are kept in `extra`, can be read
    as attributes, and are written back; one warning names those that nobody knows. Positional
    arguments have the order of transformers' XLMConfig. What every configuration of transformers
    has (`is_decoder`, `torchscript`, `tokenizer_class`, ...) can be read with its default there.

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
        is_encoder: False is the original's decoder, or an encoder and a decoder together.
        is_encoder_decoder: The configuration is that of an encoder and a decoder, see `part`.
        encoder_layers, decoder_layers: Layers of each of the two; None: n_layers.
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
        ConfigError: For a value that cannot be; the message names field, value and rule. For a key
            by which the model would compute something else than XLM, such as pre_norm=True.
    """

    model_type: ClassVar[str] = "xlm"
    attribute_map: ClassVar[dict[str, str]] = ALIASES
    # As transformers' tools look for them.
    is_composition: ClassVar[bool] = False
    has_no_defaults_at_init: ClassVar[bool] = False
    sub_configs: ClassVar[dict[str, Any]] = {}
    base_config_key: ClassVar[str] = ""
    keys_to_ignore_at_inference: ClassVar[list[str]] = []

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
    is_encoder_decoder: bool = False
    encoder_layers: int | None = None
    decoder_layers: int | None = None
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

    def __init__(self, *positional: Any, **values: Any) -> None:
        values = _with_positional(positional, values)
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
            self.label2id = _inverted(self._id2label())
        if self.lang2id is not None and self.id2lang is None:
            self.id2lang = _inverted(self.lang2id)
        elif self.id2lang is not None and self.lang2id is None:
            self.lang2id = _inverted(self.id2lang)
        self.validate()
        if not _QUIET.get():
            warn_of_typos(self, _settings())

    def __setattr__(self, name: str, value: Any) -> None:
        name = ALIASES.get(name, name)
        if name in _FIELDS:
            object.__setattr__(self, name, check_field(name, _plain(value)))
        elif name in ("num_labels", "name_or_path"):
            object.__setattr__(self, name, value)
        elif name in LOADING_ARGUMENTS:
            raise ConfigError(
                f"{name} is an argument of from_pretrained, and no field of a configuration."
            )
        else:
            if _is_too_deep(value):
                raise ConfigError(f"{name:.60} holds values nested too deeply to be written.")
            # A key of a file may have the name of a method: then it is kept, but hidden.
            self.extra[name] = value

    def __delattr__(self, name: str) -> None:
        if name in self.extra:
            del self.extra[name]
        else:
            object.__delattr__(self, name)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not a field.
        if name in ALIASES:
            return getattr(self, ALIASES[name])
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        if name in PUBLISHED_DEFAULTS:
            return PUBLISHED_DEFAULTS[name]
        raise AttributeError(f"XLMConfig has no field {name!r} and its file gave none")

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            ConfigError: With the field, its value and the rule; for a key by which the model would
                compute something else than XLM.
        """
        refuse_other_computation(self)
        check_combination(self)

    @property
    def name_or_path(self) -> str:
        """What `from_pretrained` opened, or ""; it is not written."""
        name: str = self.__dict__.get("_name_or_path") or str(self.extra.get("_name_or_path") or "")
        return name

    @name_or_path.setter
    def name_or_path(self, value: Any) -> None:
        object.__setattr__(self, "_name_or_path", str(value))

    def is_setting(self, name: str) -> bool:
        """Whether a caller may set a name: a field, an alias, a key of its file, a known key."""
        return name in _settings() or name in self.extra or is_readable(name)

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
            self.label2id = _inverted(self.id2label)

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

    def part(self, name: Literal["encoder", "decoder"]) -> Self:
        """The configuration of one part of an encoder-decoder: of its own depth.

        An encoder sees all positions, a decoder those up to its own (`causal`).
        """
        layers = self.encoder_layers if name == "encoder" else self.decoder_layers
        return self.copy(
            n_layers=self.n_layers if layers is None else layers,
            causal=name == "decoder",
            is_encoder=name == "encoder",
            is_encoder_decoder=False,
            encoder_layers=None,
            decoder_layers=None,
        )

    def of_both_parts(self) -> Self:
        """As the configuration of an encoder-decoder: itself if it is one, else a copy."""
        if self.is_encoder_decoder and not self.is_encoder:
            return self
        return self.copy(is_encoder_decoder=True, is_encoder=False)

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
        for name in _LEFT_OUT_IF_NONE:
            if result[name] is None:
                del result[name]
        if not self.is_encoder_decoder:
            del result["is_encoder_decoder"]
        return result | {"model_type": self.model_type}

    def to_json_string(self, use_diff: bool = False) -> str:
        """`to_dict`, or with use_diff `to_diff_dict`, as JSON text with sorted keys."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    def to_diff_dict(self) -> dict[str, Any]:
        """As `to_dict`, without what every model has and this one has by default."""
        default = XLMConfig().to_dict()
        return {
            name: value
            for name, value in self.to_dict().items()
            if not (name in _LEFT_OUT_BY_DEFAULT and value == default.get(name))
            and not (name in PUBLISHED_DEFAULTS and value == PUBLISHED_DEFAULTS[name])
        }

    def to_json_file(self, path: str | os.PathLike[str], use_diff: bool = False) -> None:
        """Write `to_json_string` into a file; a failure leaves no half."""
        with written_whole(Path(path)) as file:
            file.write_text(self.to_json_string(use_diff), encoding="utf-8")

    def save_pretrained(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        push_to_hub: bool = False,
        **others: Any,
    ) -> None:
        """Write `config.json` into `folder`, which is made if needed; a failure leaves no half.

        Args:
            folder: Also taken as `save_directory`, as transformers calls it.
            push_to_hub: False; what else transformers takes beside it changes nothing here.
            others: Names of transformers.

        Raises:
            UnknownArgumentError: For push_to_hub=True, or an unknown name.
        """
        function = "XLMConfig.save_pretrained"
        folder = needed_path(function, given_path(function, folder, others, PUBLISHED_FOLDER))
        settle_saving(function, push_to_hub=push_to_hub, others=others, known=["folder"])
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.to_json_file(Path(folder) / "config.json")

    # -- reading -------------------------------------------------------------------------------

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Any:
        """From a mapping with the contents of a config.json; `overrides` replace its fields.

        Args:
            values: Key -> value.
            return_unused_kwargs: Return those overrides that are no field, beside the
                configuration, instead of keeping them in `extra`.
            overrides: Fields, under any of their names.

        Returns:
            An `XLMConfig`; with return_unused_kwargs, a pair of it and the rest of `overrides`.
        """
        merged = _resolve_aliases({str(name): _plain(value) for name, value in values.items()})
        _drop_loading_arguments(merged)
        overrides = _resolve_aliases(dict(overrides))
        unused: dict[str, Any] = {}
        if return_unused_kwargs:
            known = _settings() | merged.keys()
            unused = {n: v for n, v in overrides.items() if n not in known and not is_readable(n)}
            overrides = {name: v for name, v in overrides.items() if name not in unused}
        if "num_labels" in overrides or "id2label" in overrides:
            for name in ("id2label", "label2id", "num_labels"):
                merged.pop(name, None)
        if overrides.keys() & {"lang2id", "id2lang"}:
            merged.pop("lang2id", None)
            merged.pop("id2lang", None)
        config = cls(**{**merged, **overrides})
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def from_facebook(cls, params: Any, **overrides: Any) -> Self:
        """From the `params` of an original checkpoint: a mapping or an argparse namespace.

        Arrays and tensors among them (sampling statistics) are left out. `causal` becomes True
        where the model was trained with causal steps only.
        """
        mapping = params if isinstance(params, Mapping) else vars(params)
        values = {name: value for name, value in mapping.items() if not _is_array(value)}
        if values.get("clm_steps") and not values.get("mlm_steps"):
            values.setdefault("causal", True)
        config = cls.read_from(values, **overrides)
        forked = [name for name in FLAUBERT if name in values]
        if forked and "layer_norm_eps" not in {**values, **overrides}:
            warn(
                f"params have {forked[0]}, which FlauBERT's fork of the original writes, and do "
                "not say layer_norm_eps: 1e-12 is taken, as that code had it before 2020; since "
                "then it has 1e-6. Give layer_norm_eps= for a model of the later code."
            )
        return config

    @classmethod
    def from_transformers(cls, config: Any) -> Self:
        """From transformers' XLMConfig, or anything else with its `to_dict`.

        Raises:
            ConfigError: If it is the configuration of another model.
        """
        if isinstance(config, cls):
            return config
        if not callable(getattr(config, "to_dict", None)):
            raise ConfigError(
                f"a {type(config).__module__}.{type(config).__name__} is no configuration: "
                "expected an XLMConfig, ours or transformers'."
            )
        # What transformers gives to every configuration is left out where it says nothing.
        values = config.to_diff_dict() if hasattr(config, "to_diff_dict") else config.to_dict()
        values.pop("transformers_version", None)
        made: Self = cls.from_dict(values)
        made.name_or_path = getattr(config, "name_or_path", None) or ""
        return made

    def to_transformers(self, config_class: Any) -> Any:
        """As a configuration of transformers.

        Args:
            config_class: transformers.XLMConfig; this library does not import it.
        """
        return config_class.from_dict(self.to_dict())

    @classmethod
    def from_json_file(cls, path: str | os.PathLike[str]) -> Self:
        """From a JSON file with the contents of a config.json.

        Raises:
            ConfigFileError: If there is none, or it is no JSON object.
            ConfigError: If a value is impossible.
        """
        return cls._from_file(Path(path), {})[0]

    @classmethod
    def _from_file(cls, file: Path, overrides: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        values = _read(file)
        try:
            with _quiet():
                config, unused = cls.from_dict(values, return_unused_kwargs=True, **overrides)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
        warn_of_keys(config, _settings())
        return config, unused

    @classmethod
    def read_from(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """As `from_dict`, for values out of a file: one warning names the keys that it has beside.

        Raises:
            ConfigError: If a value is impossible.
        """
        with _quiet():
            config: Self = cls.from_dict(values, **overrides)
        warn_of_keys(config, _settings())
        return config

    @classmethod
    def get_config_dict(
        cls, path: str | os.PathLike[str] | None = None, **arguments: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The contents of a config.json as they are, and those arguments that do not find it.

        Args:
            path, arguments: As in `from_pretrained`.
        """
        function = "XLMConfig.get_config_dict"
        path = needed_path(function, given_path(function, path, arguments))
        return _read(_file_at(path, file_arguments(function, arguments))), arguments

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        subfolder: str = "",
        return_unused_kwargs: bool = False,
        **overrides: Any,
    ) -> Any:
        """From a folder that holds config.json, from such a file, or by a published name.

        Args:
            path: Also taken as `pretrained_model_name_or_path`, as transformers calls it.
            cache_dir, force_download, local_files_only, token, revision, subfolder: Where it is;
                see `xlm_core.loading_arguments.FileArguments`.
            return_unused_kwargs: Return what is no field beside the configuration, instead of
                refusing it.
            overrides: Fields of the configuration, in place of those of the file. What else
                transformers takes is accepted if it changes nothing here.

        Returns:
            An `XLMConfig`; with return_unused_kwargs, a pair of it and the rest of `overrides`.

        Raises:
            ConfigFileError: If there is none, or it is no JSON object. It is an OSError, too.
            ConfigError: If a value is impossible.
            UnknownArgumentError: For an override that is no field, without return_unused_kwargs.
        """
        function = "XLMConfig.from_pretrained"
        path = needed_path(function, given_path(function, path, overrides))
        settle_loading(function, overrides)
        files = FileArguments(
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=settle_token(function, token, overrides),
            revision=revision,
            subfolder=subfolder,
        )
        file = _file_at(path, files)
        config, unused = cls._from_file(file, overrides)
        wrong = {n: v for n, v in quirks(os.fspath(path)).items() if n not in overrides}
        config = config.corrected(os.fspath(path), wrong)
        config.name_or_path = path
        if return_unused_kwargs:
            return config, unused
        refuse_unknown_arguments(
            function,
            unused,
            [*FILE_ARGUMENTS, "return_unused_kwargs", "and every field of the configuration"],
            also=_settings(),
        )
        return config

    def corrected(self, name: str, wrong: Mapping[str, Any]) -> Self:
        """Itself, or where a published configuration has fields wrong, a copy with the right ones.

        Args:
            name: What the warning calls it.
            wrong: Field -> right value, as `xlm_core.hub.quirks` gives them.
        """
        if all(getattr(self, key) == value for key, value in wrong.items()):
            return self
        what = ", ".join(f"{key}={value!r}" for key, value in wrong.items())
        warn(
            f"{name} was published with a configuration that contradicts how it was trained; it is "
            f"opened with {what}. Give the argument yourself to choose."
        )
        return self.copy(**wrong)

    # -- changing and copying ------------------------------------------------------------------

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several fields; tables that belong together (id2label, lang2id) follow.

        Raises:
            ConfigError: If the fields no longer fit together.
        """
        for name, value in values.items():
            setattr(self, name, value)
        if "id2label" in values and "label2id" not in values:
            self.label2id = _inverted(self._id2label())
        if "lang2id" in values and "id2lang" not in values:
            self.id2lang = _inverted(self.lang2id or {})
        if "id2lang" in values and "lang2id" not in values:
            self.lang2id = _inverted(self.id2lang or {})
        self.validate()

    def update_from_string(self, text: str) -> None:
        """Set fields from a text such as "n_layers=3,dropout=0.2,causal=true,summary_type=mean".

        Raises:
            ConfigError: If it is of another form, names what is not there, or a value cannot be
                read as that of a number, a switch or a text.
        """
        values = {}
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if not equals or name not in self:
                raise ConfigError(
                    f"{part!r:.60} of {text!r:.200}: expected field=value with a field of the "
                    "configuration."
                )
            values[name] = _parsed(name, value, getattr(self, name))
        self.update(values)

    def get_text_config(self, *arguments: Any, **others: Any) -> Self:
        """Itself: as transformers' tools ask models of several kinds for the part about text."""
        return self

    def copy(self, **overrides: Any) -> Self:
        """A deep copy, with `overrides` in place of its own fields."""
        with _quiet():
            config: Self = type(self).from_dict(self.to_dict(), **overrides)
        if "_name_or_path" in self.__dict__:
            config.name_or_path = self.name_or_path
        return config

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, XLMConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[str]:
        """The names of all fields and of the keys beside them."""
        yield from _FIELDS
        yield from (name for name in self.extra if name not in _FIELDS)

    def __contains__(self, name: object) -> bool:
        """Whether a name can be read as an attribute: a field, an alias, a key, a default."""
        return name in _settings() or name in self.extra or name in PUBLISHED_DEFAULTS

    def __repr__(self) -> str:
        return f"XLMConfig {self.to_json_string()}"


def _inverted(table: Mapping[Any, Any]) -> dict[Any, Any]:
    """Names by numbers as numbers by names, and the other way round."""
    return {value: key for key, value in table.items()}


# Without the constants of the class, which a dataclass lists as well.
_FIELDS = dict.fromkeys(field.name for field in fields(XLMConfig))

# What the constructor takes, for tools that ask and for the reader of a documentation page.
XLMConfig.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=getattr(XLMConfig, ALIASES.get(name, name)),
            )
            for name in _POSITIONAL
        ),
        inspect.Parameter("others", inspect.Parameter.VAR_KEYWORD),
    ]
)


@contextmanager
def _quiet() -> Iterator[None]:
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


def _settings() -> set[str]:
    """The names of all fields, their aliases included."""
    return {*_FIELDS, *ALIASES, "num_labels", "name_or_path", "model_type"}


def _with_positional(positional: tuple[Any, ...], values: dict[str, Any]) -> dict[str, Any]:
    if len(positional) > len(_POSITIONAL):
        raise UnknownArgumentError(
            f"XLMConfig takes {len(_POSITIONAL)} positional arguments at most: {len(positional)} "
            "were given. Name the others."
        )
    named = dict(zip(_POSITIONAL, positional, strict=False))
    twice = sorted(named.keys() & values.keys())
    if twice:
        raise UnknownArgumentError(f"XLMConfig got {', '.join(twice)} by position and by name.")
    return named | values


def _drop_loading_arguments(values: dict[str, Any]) -> None:
    """Leave out what earlier versions wrote into files by mistake, an access token among it."""
    found = sorted(values.keys() & LOADING_ARGUMENTS)
    for name in found:
        del values[name]
    if found:
        warn(
            f"The configuration holds arguments of loading: {', '.join(found)}. They are left out; "
            "if a token is among them, take it out of the file as well and make it invalid."
        )


def _file_at(path: str | os.PathLike[str], files: FileArguments) -> Path:
    """The config.json that a path or a published name means; fetched first if it is on the hub."""
    place = Path(path)
    try:
        exists = place.exists()
    except (OSError, ValueError) as error:
        raise ConfigFileError(
            f"{os.fspath(path)!r:.80} is no path that can be opened: {error!s:.80}."
        ) from error
    if not exists and isinstance(path, str) and is_hub_name(path):
        wanted = WantedFiles("configuration", needed=("config.json",))
        try:
            return fetch(path, files=wanted, **vars(files)) / "config.json"
        except CheckpointError as error:
            raise ConfigFileError(str(error)) from error
    if place.is_file() and not files.subfolder:
        return place
    return files.within(place) / "config.json"


def _read(file: Path) -> dict[str, Any]:
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ConfigFileError(f"{file} is damaged: {name!r:.80} comes twice.")
            found[name] = value
        return found

    if not file.is_file():
        raise ConfigFileError(f"no config.json at {file}: give a folder that holds one, or a file.")
    try:
        values = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=without_duplicates)
    except ConfigFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise ConfigFileError(f"{file} is not valid JSON: {error}") from error
    except OSError as error:
        raise ConfigFileError(f"{file} cannot be read: {error.strerror}.") from error
    if not isinstance(values, dict):
        raise ConfigFileError(f"{file} holds a {type(values).__name__}: expected a JSON object.")
    return values


_SWITCHES = dict.fromkeys(("true", "1", "y", "yes"), True)
_SWITCHES |= dict.fromkeys(("false", "0", "n", "no"), False)


def _parsed(name: str, text: str, old: Any) -> Any:
    """A text as a value of the type of the old one."""
    try:
        if isinstance(old, bool):
            return _SWITCHES[text.lower()]
        if isinstance(old, (int, float)):
            return type(old)(text)
    except (KeyError, ValueError) as error:
        kind = "true or false" if isinstance(old, bool) else f"an {type(old).__name__}"
        raise ConfigError(f"{name}={text!r:.60}: expected {kind}.") from error
    if isinstance(old, str):
        return text
    raise ConfigError(
        f"{name} is {old!r:.60}: only numbers, switches and texts are set from a text."
    )


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
