"""`XLMConfig`, which transformers takes for one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig

from xlm_core import config as core
from xlm_torch.for_transformers.interim import split


class XLMConfig(core.XLMConfig, PretrainedConfig):
    """`xlm_core.XLMConfig` that is also a `transformers.PretrainedConfig`.

    Fields, rules and files are those of `xlm_core.XLMConfig`. Only the token at which generation
    stops is transformers': `eos_token_id` is written where it was given, and without it `generate`
    goes on, as it does there (`eos_index` stays what it is).

    Args:
        values: As of `xlm_core.XLMConfig`.
    """

    def __init__(self, *arguments: Any, **values: Any) -> None:
        for name in _INTERNAL:
            object.__setattr__(self, name, None)
        object.__setattr__(self, "_name_or_path", str(values.pop("name_or_path", None) or ""))
        object.__setattr__(self, "_stops_at_eos", values.get("eos_token_id") is not None)
        super().__init__(*arguments, **values)

    @classmethod
    def of(cls, config: Any) -> XLMConfig:
        """`config` itself if it is of this class, else a copy of it that is.

        Args:
            config: An `xlm_core.XLMConfig`, or transformers' XLMConfig.
        """
        if isinstance(config, cls):
            return config
        converted = cls.from_dict(config.to_dict())
        converted.name_or_path = getattr(config, "name_or_path", "")
        return converted

    @classmethod
    def from_pretrained(cls, path: Any = None, **arguments: Any) -> Any:
        """Open a config.json, as `xlm_core.XLMConfig` does.

        Args:
            path: As there.
            arguments: As there. Notes that transformers' Auto classes pass along, with names in
                `_`, change nothing.
        """
        path = arguments.pop("pretrained_model_name_or_path", path)
        both = arguments.pop("return_unused_kwargs", False)
        used, unused = split(without_notes(arguments))
        found = super().from_pretrained(path, **used)
        found.name_or_path = path
        return (found, unused) if both else found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Any:
        """From a mapping with the contents of a config.json, as `xlm_core.XLMConfig` does.

        Args:
            values: As there.
            overrides: As there. Notes that transformers' Auto classes pass along, with names in
                `_`, change nothing.
        """
        both = overrides.pop("return_unused_kwargs", False)
        used, unused = split(without_notes(overrides))
        config = super().from_dict(without_notes(values), **used)
        stop = used.get("eos_token_id", values.get("eos_token_id"))
        object.__setattr__(config, "_stops_at_eos", stop is not None)
        if both and "dtype" in used:  # of the weights: for whoever opens them, too
            unused["dtype"] = used["dtype"]
        return (config, unused) if both else config

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "eos_token_id":
            object.__setattr__(self, "_stops_at_eos", value is not None)
            if value is None:
                return
        # Notes of transformers about an object are no keys of its file.
        if name.startswith("_") or name == "name_or_path":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Aliases are found by `__getattr__`: attributes cost here what they cost in the library.
    __getattribute__ = object.__getattribute__

    def __getattr__(self, name: str) -> Any:
        if name == "eos_token_id" and not self._stops_at_eos:
            return None
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in _DEFAULTS:
                return _DEFAULTS[name]
            raise

    @property
    def torch_dtype(self) -> str | None:
        """`dtype`, under the name that transformers gave it before."""
        return self.dtype

    def to_dict(self) -> dict[str, Any]:
        """As `xlm_core.XLMConfig.to_dict`; `eos_token_id` only where it was given."""
        values = super().to_dict()
        if not self._stops_at_eos:
            values.pop("eos_token_id", None)
        return values

    def copy(self, **overrides: Any) -> XLMConfig:
        """A deep copy, with `overrides` in place of its own fields."""
        copied = type(self).from_dict(self.to_dict(), **overrides)
        for name in ("_name_or_path", *_INTERNAL):
            object.__setattr__(copied, name, getattr(self, name))
        return copied

    def get_text_config(self, *_: Any, **__: Any) -> XLMConfig:
        """Itself: a model of text has no other."""
        return self

    def __eq__(self, other: object) -> bool:
        return core.XLMConfig.__eq__(self, other)

    __hash__ = None

    def __repr__(self) -> str:
        return core.XLMConfig.__repr__(self)


def without_notes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that transformers' Auto classes and pipelines add for themselves."""
    return {name: value for name, value in arguments.items() if not name.startswith("_")}


# What transformers notes about a configuration, without writing it.
_INTERNAL = (
    "_attn_implementation_internal",
    "_experts_implementation_internal",
    "_commit_hash",
)

# What transformers reads of any configuration, as it is for XLM.
_DEFAULTS: Mapping[str, Any] = {
    "is_encoder_decoder": False,
    "is_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "tie_encoder_decoder": False,
    "torchscript": False,
    "tokenizer_class": None,
    "finetuning_task": None,
    "task_specific_params": None,
    "prefix": None,
    "sep_token_id": None,
    "decoder_start_token_id": None,
    "transformers_version": None,
    "use_bfloat16": False,
    "tf_legacy_loss": False,
}

# transformers 5 makes a dataclass of every configuration, and adds fields that are not XLM's.
XLMConfig.__dataclass_fields__ = core.XLMConfig.__dataclass_fields__
