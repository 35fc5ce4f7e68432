"""Where tests reach into the conversion tools: their limits, their clocks and single steps.

The one place that knows in which module each of these is; every change is undone after the test.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import conversion.cli.quiet
import conversion.convert.checkpoint
import conversion.inspection.values
import conversion.line_by_line.progress
import conversion.line_by_line.text_files
import conversion.reports.progress
import conversion.tokenize.files
import conversion.tokenize.lines
import conversion.verification


def read_values_in_blocks(patch: pytest.MonkeyPatch, elements: int) -> None:
    """`xlm inspect --values` reads so many elements at a time."""
    patch.setattr(conversion.inspection.values, "_BLOCK", elements)


def end_batches_at(patch: pytest.MonkeyPatch, nbytes: int) -> None:
    """A batch of lines ends once it has so many bytes."""
    patch.setattr(conversion.line_by_line.text_files, "_BYTES_A_BATCH", nbytes)


def remember_words(patch: pytest.MonkeyPatch, count: int) -> None:
    """`xlm tokenize` remembers the subwords of so many words."""
    patch.setattr(conversion.tokenize.lines, "_WORDS_REMEMBERED", count)


def writers_remembered() -> int:
    """How many writers of subwords, with what they remember, are kept."""
    return conversion.tokenize.lines.writer_of.cache_info().currsize


def show_progress_at_once(patch: pytest.MonkeyPatch) -> None:
    """Progress is written whenever there is some, not only now and then."""
    patch.setattr(conversion.reports.progress, "_SECONDS", 0.0)


def stop_clocks(patch: pytest.MonkeyPatch, now: float) -> None:
    """For progress, and for `xlm tokenize`, no time passes."""
    stopped = SimpleNamespace(perf_counter=lambda: now)
    for module in (
        conversion.reports.progress,
        conversion.line_by_line.progress,
        conversion.tokenize.files,
    ):
        patch.setattr(module, "time", stopped)


def replace_read_back(patch: pytest.MonkeyPatch, function: Callable[..., list[str]]) -> None:
    """`xlm convert` compares what it wrote by `function`."""
    patch.setattr(conversion.convert.checkpoint, "read_back", function)


def replace_verify(patch: pytest.MonkeyPatch, function: Callable[..., Any]) -> None:
    """`xlm verify A` calls `function`."""
    patch.setattr(conversion.verification, "verify", function)


def import_no_tensorflow(patch: pytest.MonkeyPatch) -> None:
    """The command does not import TensorFlow beforehand."""
    patch.setattr(conversion.cli.quiet, "import_tensorflow", lambda: None)
