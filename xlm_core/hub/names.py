"""Names of published checkpoints: which they are, what is a name, and what is known about them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

OWNER = "FacebookAI"
# Each is also known as "FacebookAI/...".
PUBLISHED = (
    "xlm-mlm-en-2048",
    "xlm-mlm-ende-1024",
    "xlm-mlm-enfr-1024",
    "xlm-mlm-enro-1024",
    "xlm-mlm-xnli15-1024",
    "xlm-mlm-tlm-xnli15-1024",
    "xlm-clm-enfr-1024",
    "xlm-clm-ende-1024",
    "xlm-mlm-17-1280",
    "xlm-mlm-100-1280",
)
# Trained with a causal mask, published with causal=false.
_CAUSAL = ("xlm-clm-enfr-1024", "xlm-clm-ende-1024")

_NAME = re.compile(r"\w(?:[\w.-]*\w)?", re.ASCII)
_SUFFIXES = (
    *(".safetensors", ".bin", ".h5", ".keras", ".pth", ".pt", ".ckpt", ".msgpack", ".json"),
    ".git",
)


def is_hub_name(text: str) -> bool:
    """Whether a string that is no existing path may be the name of a repository.

    Looks at the string only: a caller asks first whether there is such a path.

    Args:
        text: Say "xlm-mlm-en-2048", "FacebookAI/xlm-mlm-en-2048", "owner/name".
    """
    owner, slash, name = text.partition("/")
    if not slash:
        return text in PUBLISHED
    return (
        all(_NAME.fullmatch(part) and len(part) <= 96 for part in (owner, name))
        and "--" not in text
        and ".." not in text
        and not name.lower().endswith(_SUFFIXES)
    )


def quirks(name: str | os.PathLike[str]) -> dict[str, Any]:
    """What the config.json of a published checkpoint has wrong: fields of the configuration.

    The two CLM checkpoints say causal=false, although they were trained with a causal mask.

    Args:
        name: Of a repository, or the path of a folder: one that bears a published name, or a
            published checkpoint's in huggingface_hub's cache.

    Returns:
        Field -> right value; empty for all others.
    """
    text = os.fspath(name)
    if is_hub_name(text) and not Path(text).exists():
        folder = text.removeprefix(f"{OWNER}/")
    else:
        path = Path(os.path.abspath(text))
        in_cache = path.parent.name == "snapshots"
        folder = path.parents[1].name if in_cache else path.name
        if in_cache:
            # Before they had an owner, they were cached without.
            folder = folder.removeprefix("models--").removeprefix(f"{OWNER}--")
    return {"causal": True} if folder in _CAUSAL else {}
