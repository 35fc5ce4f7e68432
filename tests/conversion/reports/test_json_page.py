"""docs/json.md describes what `--json` prints: every key, with its type, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.cli import main
from conversion.convert import convert
from conversion.evaluation import evaluate
from conversion.inspection import inspect
from conversion.reports.inspection import OriginalData
from conversion.reports.inspection_text import json_of
from conversion.reports.outputs import BARS
from conversion.reports.pair import Forward
from conversion.reports.verification import Report
from conversion.verification import verify_pair
from conversion.verification.outputs import compare
from tests.conversion import pairs
from tests.conversion.small_checkpoints import write_checkpoint
from xlm_core.checkpoints import save_checkpoint

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "json.md").read_text(encoding="utf-8")
KINDS = ("inspect", "verify", "verify pair", "convert", "evaluate", "error")
TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
# Of a key without a row below it, nothing inside is described.
Described = dict[str, set[str]]


def described(kind: str) -> Described:
    """Path -> types, in the table of a section and in the one that all share."""
    section = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
    texts = [section[0], section[section.index(kind) + 1]]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", "\n".join(texts), flags=re.MULTILINE)
    return {path: set(types.strip().split(" or ")) for path, types in rows}


def found(value: Any, table: Described, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and type of every value, as far down as the table describes."""
    below = [row for row in table if row.startswith((f"{path}.", f"{path}[")) or not path]
    kind = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else ""
    if path and (not kind or path in table):
        yield path, kind or TYPES[type(value)]
    if not below:
        return
    if isinstance(value, dict):
        for name, entry in value.items():
            inner = f"{path}.{name}" if path else name
            fixed = any(re.match(rf"{re.escape(inner)}($|[.\[])", row) for row in table)
            yield from found(entry, table, inner if fixed or not path else f"{path}.*")
    if isinstance(value, list):
        for entry in value:
            yield from found(entry, table, f"{path}[]")


def mismatches(kind: str, *texts: str) -> list[str]:
    table, seen, wrong = described(kind), set[str](), []
    for text in texts:
        values = json.loads(text, parse_constant=pytest.fail)
        assert (values["kind"], values["format"]) == (kind, 1)
        for path, type_ in found(values, table):
            seen.add(path)
            allowed = table.get(path, set())
            fits = type_ in allowed or (type_ == "integer" and "number" in allowed)
            if type_ == "boolean" and "true" in allowed:
                fits = True
            if not fits:
                wrong.append(f"{path} is a {type_}, described as {sorted(allowed)}")
    return [*wrong, *(f"{path} never came" for path in table.keys() - seen)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model")
    return tmp_path / "model"


def test_sections() -> None:
    assert tuple(re.findall(r"^## (.*)$", PAGE, flags=re.MULTILINE)) == KINDS


def test_inspect(folder: Path, tmp_path: Path) -> None:
    config = write_checkpoint(tmp_path / "odd", "XLMForQuestionAnswering")
    tensors = pairs.tensors_in(tmp_path / "odd")
    tensors["strange"] = np.zeros(3, np.float32)
    tensors.pop("transformer.layer_norm_emb.bias")
    name = next(name for name in tensors if name.endswith("dense_1.weight"))
    tensors[name] = np.full((2, 7), np.nan, np.float32)
    save_checkpoint(tmp_path / "odd", config, tensors)
    odd = inspect(tmp_path / "odd", values=True)
    original = OriginalData(("emb_dim",), 60, True, False, ("epoch",))
    rest = replace(
        odd,
        original=original,
        dropped=("optimizer state",),
        notes=("a note",),
        left_out=("pred_layer.proj.bias",),
        differing_ties=(("a", "b"),),
    )
    small = replace(inspect(folder), original=replace(original, words=None))
    assert mismatches("inspect", json_of(small), json_of(odd), json_of(rest)) == []


def test_verify() -> None:
    ones = {"logits": np.ones((2, 3)), "hidden_states[0]": np.ones(3), "top": np.arange(3)}
    more = {**ones, "logits": np.ones((2, 3)) + 0.1, "top": np.arange(3) + 1}
    seconds = {"PyTorch": {"float64": {"open": 0.1, "run": 0.1}}, "total": 0.1}
    reports = [
        Report(
            "x", "XLMModel", (6, 19), 0, compare(ones, other, dtype="float64"), BARS,
            {"numpy": "2"}, seconds, notes=("a note",),
        )
        for other in (ones, more)
    ]  # fmt: skip
    assert mismatches("verify", *(report.json() for report in reports)) == []


def test_verify_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs.hide_frameworks(monkeypatch)
    first, second = pairs.write_pair(tmp_path, pairs.rename)
    config = write_checkpoint(first).copy(n_heads=2)
    save_checkpoint(second, config, pairs.tensors_in(second))
    off = verify_pair(second, first)
    rows = compare({"logits": np.ones(2)}, {"logits": np.ones(2)}, dtype="float64")
    ran = Forward(("A", "B"), rows, (6, 19), 2, failure="a failure")
    seconds = {**off.seconds, "A": {"float64": {"open": 0.1, "run": 0.1}}}
    convert(first, tmp_path / "half", to="torch", dtype="float16")
    half = verify_pair(first, tmp_path / "half")
    assert half.rounded_to == "float16"
    reports = (off, half, replace(half, forward=ran, seconds=seconds, notes=("a note",)))
    assert mismatches("verify pair", *(report.json() for report in reports)) == []


def test_evaluate(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("some words of a text\n")
    names = (str(tmp_path / "text"), [str(tmp_path / "text")])
    reports = (evaluate(*names), evaluate(*names, tokenized=True))
    assert mismatches("evaluate", *(report.json() for report in reports)) == []


def test_convert(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["convert", str(folder), str(tmp_path / "t.pth"), "--to", "facebook", "--json"]
    assert main([*run, "--dtype", "float16", "--head", "XLMModel"]) == 0
    assert mismatches("convert", capsys.readouterr().out) == []


def test_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "absent"), "--json"]) == 2
    assert mismatches("error", capsys.readouterr().out) == []


def test_a_wrong_page_would_be_seen() -> None:
    text = json.dumps({"kind": "error", "format": 1, "command": 3, "new": "x", "error": ""})
    assert mismatches("error", text) == [
        "command is a integer, described as ['string']",
        "new is a string, described as []",
        "error_type never came",
    ]
