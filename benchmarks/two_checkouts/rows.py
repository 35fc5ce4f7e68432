"""The rows: what both checkouts compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.speed.rows import rows as rows_of_speed
from benchmarks.speed.tasks import Shape, Task

SIDES = {"xlm_torch": "torch_side", "xlm_tf": "tf_side", "core": "core_side"}


@dataclass(frozen=True)
class Row:
    """Something that takes time.

    Attributes:
        name: For the command line.
        side: Key of `SIDES`, or "" for a fresh process each time.
        task: As JSON, for the side.
        options: For the side.
        command: What a fresh process runs, after `python`; {folder} is that of the weights,
            {target} a path where nothing is.
    """

    name: str
    side: str
    task: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()


def rows(shape: Shape) -> Iterator[Row]:
    """All rows: those of a quick run of `benchmarks.speed` that are ours, then what it lacks."""
    for row in rows_of_speed(shape):
        for lane in row.lanes:
            if lane.ours and not row.long and not lane.long:
                name = f"{row.name}, {lane.contender}"
                yield Row(name, lane.contender, asdict(row.task), lane.options)
    for side in ("xlm_torch", "xlm_tf"):
        for batch in (1, 8):
            task = asdict(Task("decode", batch, 64, shape=shape))
            yield Row(f"decode {batch}, {side}", side, task)
        task = asdict(Task("attentions", 8, 128, shape=shape))
        yield Row(f"attentions, {side}", side, task)
        yield Row(f"small call, {side}", side, asdict(Task("small", 4, 16)))
        yield Row(f"open, {side}", side, asdict(Task("open", 1, 1, shape=shape)))
    for way in ("never seen", "seen", "padded arrays", "truncated", "one by one", "offsets"):
        yield Row(f"tokenize, {way}", "core", {"kind": "tokenize", "way": way})
    for layout in ("safetensors", "tf", "facebook", "keras"):
        yield Row(f"convert to {layout}", "core", {"kind": "convert", "to": layout})
    yield Row("convert to tf, read back", "core", {"kind": "convert", "to": "tf", "check": True})
    for package in ("xlm_core", "xlm_torch", "xlm_tf"):
        yield Row(f"import {package}", "", command=("-c", f"import {package}"))
    convert = ("-m", "conversion", "convert", "{folder}/torch", "{target}", "--to", "safetensors")
    yield Row("xlm convert", "", command=convert)
