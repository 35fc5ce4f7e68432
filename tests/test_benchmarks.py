"""The benchmark of speed: its harness with a tiny model, its figures with made-up times."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed.measure import Effort, measure
from benchmarks.speed.plot import plot
from benchmarks.speed.pool import CONTENDERS, Contender, Pool
from benchmarks.speed.report import as_json, machine, table
from benchmarks.speed.results import LaneResult, Limit, RowResult, limit_of
from benchmarks.speed.rows import Bar, Lane, Row, rows
from benchmarks.speed.tasks import (
    IGNORED,
    Shape,
    Task,
    attention_operations,
    batch_of,
    growing,
    lengths_of,
    products_of,
)
from benchmarks.speed.weights import build

TINY = Shape(vocab_size=61, emb_dim=16, n_layers=2, n_heads=4, max_position_embeddings=32)


def made_up(peer_times: list[float], our_times: list[float]) -> RowResult:
    row = Row(
        "encode",
        "encode 2 x 3",
        Task("encode", 2, 3, shape=TINY),
        (Lane("ours", "xlm_torch"), Lane("peer", "transformers 4"), Lane("gone", "ONNX Runtime")),
        (Bar("ours", "peer", 2.0), Bar("ours", "gone", 1.0)),
        {"ours": (0.5, "")},
    )
    lanes = [
        LaneResult("ours", True, seconds=our_times, error=1e-6, peak_mb=10.0),
        LaneResult("peer", seconds=peer_times),
        LaneResult("gone", missing="its environment is not named"),
    ]
    return RowResult(row, lanes, {"": Limit(1.0, 4e11, ("oneDNN",))})


# -- tasks -----------------------------------------------------------------------------------------


def test_batches_are_filled_and_labelled_as_asked() -> None:
    task = Task("loss", 32, 128, filled=0.45)
    batch = batch_of(task)
    tokens = round(32 * 128 * 0.45)
    assert batch.mask.sum() == tokens == lengths_of(task).sum()
    assert batch.mask[0].all()
    assert (batch.ids[batch.mask == 0] == 2).all()
    assert (batch.labels != IGNORED).sum() == round(tokens * 0.15)
    assert (batch.labels[batch.mask == 0] == IGNORED).all()
    np.testing.assert_array_equal(batch.ids, batch_of(task).ids)
    np.testing.assert_array_equal(task.first(3).ids, batch.ids[:3])


def test_a_task_survives_json() -> None:
    task = Task("train", 2, 3, filled=0.5, shape=TINY)
    assert Task.from_json(json.loads(json.dumps(asdict(task)))) == task


def test_products_by_hand() -> None:
    task = Task("loss", 2, 10, labelled=0.5, shape=TINY)
    assert products_of(task) == {
        (20, 16, 16): 8,
        (20, 16, 64): 2,
        (20, 64, 16): 2,
        (10, 16, 61): 1,
    }
    # scores and contexts: 2 x 2 operations for each pair of positions and each width, 2 layers
    assert attention_operations(task) == 2 * (4 * 10 * 10 * 16) * 2


def test_growth_changes_one_size_at_a_time() -> None:
    base = Task("encode", 8, 128)
    assert {of for of, _, _ in growing(base)} == {"batch", "length", "layers", "vocabulary"}
    sizes = [task.shape.n_layers for of, _, task in growing(base) if of == "layers"]
    assert sizes == [3, 6, 12]


# -- figures ---------------------------------------------------------------------------------------


def test_the_limit_takes_the_best_product_of_each_shape() -> None:
    task = Task("encode", 2, 10, shape=TINY)
    first, second, third = products_of(task)
    products = [
        ["slow", *first, 2.0],
        ["fast", *first, 1.0],
        ["fast", *first, 3.0],
        ["fast", *first, 1.0],
        ["slow", *second, 1.0],
        ["fast", *second, 2.0],
        ["fast", *third, 4.0],
    ]
    limit = limit_of(task, products)
    assert limit is not None
    operations = 20 * 2 * (8 * 16 * 16 + 4 * 16 * 64)
    assert limit.rate == pytest.approx(operations / (8 * 1.0 + 2 * 1.0 + 2 * 4.0))
    whole = operations + attention_operations(task)
    assert limit.seconds == pytest.approx(whole / limit.rate)
    assert limit.by == ("fast", "slow")
    assert limit_of(task, products[:-1]) is None


def test_ratios_are_of_pairs_and_bars_are_judged() -> None:
    result = made_up([4.0, 9.0, 8.0], [2.0, 3.0, 2.0])
    assert result.ratio("ours", "peer") == 3.0
    assert result.ratio("ours", "gone") is None
    (bar,) = result.bars()
    assert bar["met"]
    assert not bar["out_of_reach"]
    assert bar["limit_ratio"] == 8.0
    assert result.shares() == [
        {"ours": "ours", "by": "", "share": 0.5, "at_least": 0.5, "met": True}
    ]


def test_a_bar_beyond_the_limit_is_marked() -> None:
    result = made_up([1.5], [1.2])
    (bar,) = result.bars()
    assert not bar["met"]
    assert bar["out_of_reach"]
    assert "NOT met; the limit allows 1.50" in table(result)


def test_memory_is_compared_beyond_what_a_step_must_hold() -> None:
    row = Row("memory", "memory", Task("memory", 8, 64), (), (Bar("a", "b", 3.0),))
    parts = {"known_mb": 1000.0, "libraries_mb": 50.0}
    lanes = [
        LaneResult("a", True, details={"peak_mb": 1200.0, **parts}),
        LaneResult("b", details={"peak_mb": 1800.0, **parts}),
    ]
    result = RowResult(row, lanes)
    assert result.ratio("a", "b") == 4.0
    assert result.bars()[0]["met"]
    assert "150 MB beyond the libraries" in table(result)


# -- reports ---------------------------------------------------------------------------------------


def test_the_table_names_what_is_missing() -> None:
    text = table(made_up([4.0], [2.0]))
    assert "its environment is not named" in text
    assert "ours against peer: 2.00 times (at least 2: met)" in text
    assert "50% of the limit" in text


def test_json_and_plot() -> None:
    growth = [
        {"of": of, "size": size, "title": "encode", "seconds": {"ours": size / 2, "peer": size}}
        for of in ("batch", "layers")
        for size in (1, 2, 4)
    ]
    found = json.loads(json.dumps(as_json(machine(), [made_up([4.0], [2.0])], growth)))
    (row,) = found["rows"]
    assert [lane.get("median") for lane in row["lanes"]] == [2.0, 4.0, None]
    drawing = plot(found)
    words = {text.text for text in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")}
    assert {"encode 2 x 3", "2,000", "4,000", "peer", "batch: encode"} <= words
    plot(found | {"growth": []})


def test_every_row_names_its_own_lanes() -> None:
    table_of_rows = rows(Shape())
    assert len({row.name for row in table_of_rows}) == len(table_of_rows)
    for row in table_of_rows:
        names = [lane.name for lane in row.lanes]
        assert len(set(names)) == len(names)
        assert {name for bar in row.bars for name in (bar.ours, bar.peer)} <= set(names)
        assert set(row.shares) <= set(names)
        assert {lane.contender for lane in row.lanes} <= set(CONTENDERS)


# -- the harness -----------------------------------------------------------------------------------


def test_a_row_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTENDERS, "nobody", Contender("no_such_side"))
    folder = tmp_path / "weights"
    build(folder, TINY)
    row = Row(
        "encode",
        "encode 3 x 8",
        Task("encode", 3, 8, filled=0.7, shape=TINY),
        (
            Lane("xlm_torch", "xlm_torch"),
            Lane("plain", "xlm_torch", {"plain": True}),
            Lane("long", "xlm_torch", long=True),
            Lane("ONNX Runtime", "ONNX Runtime"),
            Lane("nobody", "nobody"),
            Lane("mistaken", "xlm_torch", {"dtype": "no such dtype"}),
        ),
        (Bar("xlm_torch", "plain", 1.0), Bar("xlm_torch", "ONNX Runtime", 1.0)),
    )
    absent = Row("int8", "int8", row.task, (Lane("int8", "xlm_torch", {"dtype": "none"}),))
    with Pool(folder, None) as pool:
        result = measure(row, pool, Effort(rounds=1, least=1, quick=True))
        (nothing,) = measure(absent, pool, Effort(rounds=1, least=1)).lanes
    assert nothing.missing
    assert not nothing.seconds
    found = {lane.name: lane for lane in result.lanes}
    assert "long" not in found
    for name in ("xlm_torch", "plain"):
        lane = found[name]
        assert not lane.missing
        assert len(lane.seconds) == 1
        assert lane.error is not None
        assert 0 < lane.error < 1e-5
    assert "XLM_BENCH_PEERS_PYTHON" in found["ONNX Runtime"].missing
    assert "no_such_side" in found["nobody"].missing
    assert found["mistaken"].missing.startswith("failed: AttributeError")
    assert len(result.bars()) == 1
    assert result.limits[""].rate > 0
    assert not list(folder.glob("*.npy"))
