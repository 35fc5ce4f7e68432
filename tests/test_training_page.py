"""docs/training.md: its example can be read, and its table has every key with its default."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from xlm_core.objectives import ObjectiveSettings
from xlm_core.training.config import (
    INTERVALS,
    DurationSettings,
    OptimizerSettings,
    StartSettings,
    StoppingSettings,
    TrainingConfig,
)

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
SECTIONS = {
    "batches": ObjectiveSettings,
    "duration": DurationSettings,
    "optimizer": OptimizerSettings,
    "start": StartSettings,
    "stopping": StoppingSettings,
}


def table() -> dict[str, str]:
    """Each key of the page's table, with its full name, and its default as the table has it."""
    found: dict[str, str] = {}
    for line in PAGE.partition("## The configuration")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        names = re.findall(r"`([^`]+)`", cells[0])
        section = names[0].partition(".")[0]
        full = [f"{section}{name}" if name.startswith(".") else name for name in names]
        defaults = re.split(r", (?![^\[]*\])", cells[1].strip("`"))
        for name, default in zip(full, defaults * (len(full) // len(defaults) or 1), strict=True):
            found[name] = default
    return found


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(PAGE.partition("```toml\n")[2].partition("```")[0])
    config = TrainingConfig.from_toml(tmp_path / "run.toml")
    assert [task.name for task in config.tasks] == ["MLM-en", "MLM-fr", "TLM-en-fr"]
    assert config.stopping.criterion in config.figures()


def test_every_key_is_in_the_table() -> None:
    known = {
        each.name
        for each in fields(TrainingConfig)
        if each.name not in (*SECTIONS, "model", "objectives", "data")
    }
    known |= {f"{name}.{each.name}" for name, kind in SECTIONS.items() for each in fields(kind)}
    known |= {"model.*", "objectives.clm", "objectives.mlm", "objectives.mt"}
    known |= {"data.train.*", "data.valid.*", "data.test.*"}
    assert set(table()) == known


@pytest.mark.parametrize("name", [name for name in table() if not name.endswith("*")])
def test_defaults_are_those_of_the_table(name: str) -> None:
    section, _, key = name.rpartition(".")
    if section == "objectives":
        return
    kind: Any = SECTIONS.get(section, TrainingConfig)
    default = kind.__dataclass_fields__[key].default
    written = table()[name]
    if not written:
        return
    value = {"true": True, "false": False}.get(written)
    if value is None:
        value = eval(written)
    if key in INTERVALS:
        assert INTERVALS[key] == value
    elif key == "betas":
        assert OptimizerSettings().betas == value
    elif key == "batch_size":
        assert ObjectiveSettings().batch_size == value
    else:
        assert default == value
