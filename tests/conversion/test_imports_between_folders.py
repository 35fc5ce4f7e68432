"""Folders of `conversion` import one way: reports below the tools, the command line above all.

Files are read as text, so imports inside functions and for types alone count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Folder or file of `conversion` -> the others that it may import. The tools do not know each other.
ALLOWED: dict[str, set[str]] = {
    "reports": set(),
    "opening": set(),
    "convert": {"reports", "opening"},
    "inspection": {"reports"},
    "verification": {"reports", "opening"},
    "line_by_line": {"reports"},
    "tokenize": {"reports", "line_by_line"},
    "generation": {"line_by_line", "opening"},
        "evaluation",
