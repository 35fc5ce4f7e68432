"""What needs no framework: tokenization, and conversion of checkpoints."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.protocol import Absent, Prepared, Side
from benchmarks.two_checkouts.clock import Clock

# Way of calling -> options; the others are methods of their own.
WAYS: dict[str, dict[str, Any]] = {
    "seen": {},
    "padded arrays": {"padding": True, "return_tensors": "np"},
    "truncated": {"truncation": True, "max_length": 64},
    "offsets": {"return_offsets_mapping": True},
}


@dataclass
class CoreTask:
    """As JSON of `Row.task`."""

    kind: str
    way: str = ""
    to: str = ""
    check: bool = False

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CoreTask:
        """The reverse of `dataclasses.asdict`."""
        return cls(**values)


class CoreSide(Side):
    """Tasks: "tokenize" in one of several ways, "convert" to a layout."""

    def version(self) -> str:
        """Of no framework."""
        return "xlm_core"

    def forget(self, kinds: Collection[str]) -> None:
        """Nothing is kept."""

    def prepare(self, task: CoreTask, options: dict[str, Any]) -> Prepared:
        """See `Side`."""
        return Prepared(self.tokenizing(task) if task.kind == "tokenize" else self.converting(task))

    def tokenizing(self, task: CoreTask) -> Any:
        """All texts, by a tokenizer that has seen them, or by a new one."""
        texts = self.folder / "texts.txt"
        if not texts.is_file():
            raise Absent("../shared/data is not there")
        lines = texts.read_text(encoding="utf-8").split("\n")
        files = self.folder / "vocab.json", self.folder / "merges.txt"
        tokenizer_class = importlib.import_module("xlm_core").XLMTokenizer
        tokenizer = tokenizer_class(*files)

        def never_seen() -> dict[str, float]:
            new = tokenizer_class(*files)
            new("Load what loads at first: it's 5,000.")
            clock = Clock()
            new(lines)
            return clock.read()

        if task.way == "never seen":
            return never_seen
        if task.way == "one by one":
            return lambda: [tokenizer(line) for line in lines]
        return lambda: tokenizer(lines, **WAYS[task.way])

    def converting(self, task: CoreTask) -> Any:
        """To a place where nothing is."""
        convert = importlib.import_module("conversion.convert").convert
        target = self.folder / f"{Path(self.library).name}-converted"

        def run() -> dict[str, float]:
            shutil.rmtree(target, ignore_errors=True)
            target.unlink(missing_ok=True)
            clock = Clock()
            convert(self.folder / "torch", target, to=task.to, check=task.check)
            found = clock.read()
            shutil.rmtree(target, ignore_errors=True)
            return found

        return run


SIDE = CoreSide
