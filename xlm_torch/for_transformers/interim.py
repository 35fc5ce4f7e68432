"""Arguments of loading that the library's own `from_pretrained` does not take yet."""

from __future__ import annotations

from typing import Any

from xlm_core.config import ALIASES, XLMConfig

_SILENT = (
    "cache_dir",
    "force_download",
    "proxies",
    "token",
    "subfolder",
    "trust_remote_code",
    "adapter_kwargs",
    "device_map",
    "attn_implementation",
    "low_cpu_mem_usage",
    "use_safetensors",
    "variant",
    "code_revision",
    "use_fast",
    "config",
    "output_loading_info",
    "resume_download",
    "weights_only",
)


def settled(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in arguments.items()
        if name not in _SILENT and not (name == "revision" and value == "main")
    }


def as_fields(config: Any) -> dict[str, Any]:
    if config is None:
        return {}
    values = config.to_dict()
    fields = {*XLMConfig.__dataclass_fields__, *ALIASES}
    return {n: v for n, v in values.items() if n in fields - {"dtype", "architectures"}}


def split(arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    fields = {*XLMConfig.__dataclass_fields__, *ALIASES, "num_labels", "name_or_path"}
    return (
        {n: v for n, v in arguments.items() if n in fields},
        {n: v for n, v in arguments.items() if n not in fields},
    )
