"""Published checkpoints by name: found in huggingface_hub's own cache, or downloaded into it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from xlm_core.checkpoints.layouts import WEIGHT_FILES
from xlm_core.checkpoints.shards import is_plain_name
from xlm_core.containers.json_files import read_object
from xlm_core.errors import CheckpointError
from xlm_core.hub.errors import explained, hub_errors
from xlm_core.hub.repository import Repository

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

_CONFIG = "config.json"
_VOCABULARY, _MERGES = "vocab.json", "merges.txt"
_BESIDE_VOCABULARY = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

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


def fetch(
    name: str,
    *,
    revision: str | None = None,
    files: Literal["weights", "tokenizer"] = "weights",
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> Path:
    """Have what is needed of a repository in huggingface_hub's cache.

    What the cache holds is not downloaded again; a branch or tag is asked about each time, with
    one request, a commit whose files are there with none. The variables of huggingface_hub hold
    (HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN). Where the hub cannot be
    reached, the cache has the last word.

    Args:
        name: One of `PUBLISHED`, or "owner/name".
        revision: A branch, a tag, or the 40 digits of a commit; None is the branch "main".
        files: "weights": config.json and the first of `WEIGHT_FILES` that exists, with its
            shards. "tokenizer": vocab.json and merges.txt, and the smaller files beside them.
        local_files_only: Whether to use the cache only, without a request.
        cache_dir: Folder of the cache, in place of huggingface_hub's.
        token: Of the hub's user; True takes the stored one, None that or HF_TOKEN, if there is
            any; False none.

    Returns:
        The folder of the snapshot: all files in it are of one commit.

    Raises:
        CheckpointError: If the repository, revision or files do not exist or may not be read,
            the hub cannot be reached, or a download breaks off.
        MissingPackageError: If huggingface_hub is not installed.
    """
    if not is_hub_name(name):
        raise CheckpointError(
            f"{name!r} is no existing path and no name of a repository: expected owner/name, or "
            f"one of {', '.join(PUBLISHED)}."
        )
    if files not in ("weights", "tokenizer"):
        raise CheckpointError(f"files is {files!r}: expected 'weights' or 'tokenizer'.")
    failures = hub_errors()
    repository = Repository(
        name if "/" in name else f"{OWNER}/{name}", revision, local_files_only, cache_dir, token
    )
    try:
        return _weights(repository) if files == "weights" else _tokenizer(repository)
    except CheckpointError:
        raise
    except failures as error:
        cause = repository.unreachable or error
        raise CheckpointError(explained(cause, repository.asked)) from error


def _weights(repository: Repository) -> Path:
    """The snapshot, with the configuration and the weights."""
    folder = repository.need(_CONFIG).parent
    for file in WEIGHT_FILES:
        found = repository.find(file)
        if found is not None:
            for shard in _shards(found) if file.endswith(".index.json") else ():
                repository.need(shard)
            return folder
    repository.asked.file = f"weights ({', '.join(WEIGHT_FILES)})"
    if repository.unreachable:
        raise repository.unreachable
    raise CheckpointError(
        f"{repository.asked.endpoint}/{repository.asked.repository} holds no weights that this "
        f"library can open: none of {', '.join(WEIGHT_FILES)} is there at commit {folder.name}."
    )


def _tokenizer(repository: Repository) -> Path:
    """The snapshot, with the tokenizer's files.

    The two that must exist come last: where they are, it is settled which of the others exist.
    """
    if repository.find(_CONFIG) is None:
        repository.need(_VOCABULARY)
    for file in _BESIDE_VOCABULARY:
        repository.find(file)
    repository.need(_MERGES)
    return repository.need(_VOCABULARY).parent


def _shards(index: Path) -> list[str]:
    """The files that an index names, each once."""
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} is no index of shards: it has no weight_map.")
    for file in weight_map.values():
        if not isinstance(file, str) or not is_plain_name(file):
            raise CheckpointError(
                f"{index} names the shard {file!r:.80}: expected the plain name of a file beside "
                "it. Do not use this checkpoint."
            )
    return sorted(set(weight_map.values()))
