"""Reports as JSON; docs/json.md describes each of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

# Raised when a key changes its meaning or goes; keys may come without it.
FORMAT = 1


def json_text(kind: str, values: Mapping[str, Any], *, on_one_line: bool = False) -> str:
    """A report as one JSON object; numbers that are NaN or infinite are null.

    Args:
        kind: What is reported, a section of docs/json.md: "inspect", "verify", "verify pair",
            "convert" or "error".
        values: The report, by key.
        on_one_line: Whether it is one of several objects, a line each.
    """
    head = {"kind": kind, "format": FORMAT}
    indent = None if on_one_line else 2
    return json.dumps(head | _finite(values), indent=indent, allow_nan=False)


def error_json(command: str, error: Exception, message: str, *, on_one_line: bool = False) -> str:
    """What a command prints with --json in place of its report if it could not be done.

    Args:
        command: Name of the sub-command.
        error: What was raised.
        message: Its message, on one line.
        on_one_line: As in `json_text`.
    """
    values = {"command": command, "error": message, "error_type": type(error).__name__}
    return json_text("error", values, on_one_line=on_one_line)


def _finite(value: Any) -> Any:
    """A value as JSON can hold it: numbers that are NaN or infinite are None."""
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
