"""`XLMConfig`, which transformers takes for one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from transformers import GenerationConfig, PretrainedConfig

from xlm_core import config as core


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
        object.__setattr__(self, "_stops_at_eos", values.get("eos_token_id") is not None)
        super().__init__(*arguments, **values)

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Any:
        """From a mapping with the contents of a config.json, as `xlm_core.XLMConfig.from_dict`.

        Args:
            values, return_unused_kwargs, overrides: As there. Notes of transformers' Auto classes,
                with names in `_`, are left out.
        """
        overrides = without_notes(overrides)
        config, unused = super().from_dict(
            without_notes(values), return_unused_kwargs=True, **overrides
        )
        if not return_unused_kwargs:
            for name, value in unused.items():
                setattr(config, name, value)
        stop = overrides.get("eos_token_id", values.get("eos_token_id"))
        object.__setattr__(config, "_stops_at_eos", stop is not None)
        if "dtype" in overrides:  # of the weights: for whoever opens them, too
            unused["dtype"] = overrides["dtype"]
        return (config, unused) if return_unused_kwargs else config

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "eos_token_id":
            object.__setattr__(self, "_stops_at_eos", value is not None)
            if value is None:
                return
        # Notes of transformers about an object are no keys of its file.
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Aliases are found by `__getattr__`: attributes cost here what they cost in the library.
    __getattribute__ = object.__getattribute__

    def __getattr__(self, name: str) -> Any:
        if name == "eos_token_id" and not self._stops_at_eos:
            return None
        return super().__getattr__(name)

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

    def copy(self, **overrides: Any) -> Self:
        """A deep copy, with `overrides` in place of its own fields."""
        copied = super().copy(**overrides)
        for name in _INTERNAL:
            object.__setattr__(copied, name, getattr(self, name))
        return copied

    def _get_generation_parameters(self) -> dict[str, Any]:
        """What of the file transformers 5 wants in the generation's configuration instead."""
        known = vars(GenerationConfig()).keys()
        return {name: value for name, value in self.extra.items() if name in known - _COMMON}

    def __eq__(self, other: object) -> bool:
        return core.XLMConfig.__eq__(self, other)

    __hash__ = None

    def __repr__(self) -> str:
        return core.XLMConfig.__repr__(self)


def without_notes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that transformers' Auto classes and pipelines add for themselves."""
    return {name: value for name, value in arguments.items() if not name.startswith("_")}


# Of both kinds of configuration.
_COMMON = {"transformers_version"}

# What transformers notes about a configuration, without writing it.
_INTERNAL = (
    "_attn_implementation_internal",
    "_experts_implementation_internal",
    "_commit_hash",
)

# transformers 5 makes a dataclass of every configuration, and adds fields that are not XLM's.
XLMConfig.__dataclass_fields__ = core.XLMConfig.__dataclass_fields__
