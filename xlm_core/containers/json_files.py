"""Read untrusted JSON: an object, or an error that says which file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from xlm_core.errors import CheckpointError

_LARGEST = 64 << 20


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: If there is none, or a key comes twice.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes: no JSON of this size.")
        return parse_object(path.read_bytes(), str(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def parse_object(content: bytes, what: str) -> dict[str, Any]:
    """The JSON object in some bytes; `what` names them in messages.

    Raises:
        CheckpointError: If they are none, or a key comes twice.
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, count in Counter(k for k, _ in pairs).items() if count > 1)
            raise CheckpointError(f"{what} is damaged: {twice!r:.80} comes twice.")
        return found

    try:
        value = json.loads(content.decode(), object_pairs_hook=without_duplicates)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is damaged: no valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} holds a JSON {type(value).__name__}; expected an object.")
    return value
