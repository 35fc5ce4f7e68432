"""The benchmark of speed: its harness with a tiny model, its figures with made-up times."""

from __future__ import annotations

import importlib
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed import measure as speed_measure
from benchmarks.speed import tasks
from benchmarks.speed.measure import (
    Effort,
    Turn,
    contenders_of,
    errors,
    lanes_of,
    measure,
    replace_stopped,
)
from benchmarks.speed.plot import plot, ticks
from benchmarks.speed.pool import CONTENDERS, Contender, Pool, Process
from benchmarks.speed.report import as_json, machine, table
from benchmarks.speed.results import LaneResult, Limit, RowResult, limit_of
from benchmarks.speed.rows import Bar, Lane, Row, of_family, rows
from benchmarks.speed.tasks import (
    IGNORED,
    Shape,
    Task,
    attention_operations,
    batch_of,
    bytes_of_update,
    growing,
    lengths_of,
    narrow,
    products_of,
    sizes_of,
)
from benchmarks.speed.weights import build
from benchmarks.speed.worker import Worker

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
        LaneResult("ours", True, seconds=our_times, error=1e-6, rms=5e-7, peak_mb=10.0),
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


def test_pretraining_needs_little_of_the_last_layer() -> None:
    task = Task("pretrain", 2, 10, labelled=0.5, shape=TINY)
    assert products_of(task) == {
        (20, 16, 16): 4 + 2,
        (10, 16, 16): 2,
        (20, 16, 64): 1,
        (20, 64, 16): 1,
        (10, 16, 64): 1,
        (10, 64, 16): 1,
        (10, 16, 61): 1,
    }
    assert attention_operations(task) == 2 * (4 * 10 * 10 * 16) * 1.5
    every = Task("pretrain", 2, 10, labelled=1, shape=TINY)
    assert products_of(every)[20, 16, 16] == 8


def test_an_update_moves_the_weights_of_the_model() -> None:
    task = Task("pretrain", 2, 10, shape=TINY)
    words, width = TINY.vocab_size, TINY.emb_dim
    attention, ffn, norms = 4 * (16 * 16 + 16), 16 * 64 + 64 + 64 * 16 + 16, 4 * 16
    counted = (words + 32) * width + words + 2 * (attention + ffn + norms)
    assert bytes_of_update(task) == 28 * counted
    assert bytes_of_update(Task("train", 2, 10, shape=TINY)) == 0
    sizes = sizes_of(Task("update", 1, 1, shape=TINY))
    assert sum(map(math.prod, sizes)) == counted + 2 * width  # the norm of the embeddings


def test_growth_changes_one_size_at_a_time() -> None:
    base = Task("encode", 8, 128)
    assert {of for of, _, _ in growing(base)} == {"batch", "length", "layers", "vocabulary"}
    sizes = [task.shape.n_layers for of, _, task in growing(base) if of == "layers"]
    assert sizes == [3, 6, 12]


def test_rounding_is_of_one_product_for_each_number_of_inputs() -> None:
    products = narrow(products_of(Task("rounding", 2, 10, shape=TINY)))
    assert list(products) == [(20, 16, 16), (20, 64, 16)]


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


def test_errors_by_hand() -> None:
    expected = np.array([[[3.0, -4.0]]])
    found = np.array([[[3.0, -3.0]], [[7.0, 7.0]]])  # of the second sentence nothing is known
    assert errors(found, expected) == pytest.approx((1 / 4, 1 / 5))


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
    assert "error 1.0e-06  rms 5.0e-07" in text


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
    assert {"encode 2 x 3", "2,000", "4,000  (2.00 times)", "peer", "batch: encode"} <= words
    plot(found | {"growth": []})
    assert ticks(0.011, 0.3) == pytest.approx([0.02, 0.05, 0.1, 0.2])


def test_every_row_names_its_own_lanes() -> None:
    table_of_rows = rows(Shape())
    assert len({row.name for row in table_of_rows}) == len(table_of_rows)
    for row in table_of_rows:
        names = [lane.name for lane in row.lanes]
        assert len(set(names)) == len(names)
        assert {name for bar in row.bars for name in (bar.ours, bar.peer)} <= set(names)
        assert set(row.shares) <= set(names)
        assert {lane.contender for lane in row.lanes} <= set(CONTENDERS)


def test_one_family_keeps_its_own_lanes_and_bars() -> None:
    whole = {row.name: row for row in rows(Shape())}["pretrain"]
    for family, ours, peer in (
        ("torch", "xlm_torch", "transformers 4"),
        ("tf", "xlm_tf", "TFXLM, tf.function"),
    ):
        row = of_family(whole, family)
        names = {lane.name for lane in row.lanes}
        assert {ours, peer} <= names
        assert row.shares.keys() == {ours}
        assert {bar.ours for bar in row.bars} == {ours}
        assert all(bar.peer in names for bar in row.bars)
    assert len(of_family(whole, "tf").lanes) + len(of_family(whole, "torch").lanes) == len(
        whole.lanes
    )


def test_a_quick_run_keeps_what_matters() -> None:
    names = [row.name for row in rows(Shape()) if not row.long]
    assert {"encode", "padded", "bfloat16", "loss", "train", "one-row"} <= set(names)
    encode = contenders_of(rows(Shape())[0], Effort(quick=True))
    assert {"transformers 4", "transformers 5", "ONNX Runtime", "TFXLM", "float64"} <= encode
    assert "original" not in encode


# -- the harness -----------------------------------------------------------------------------------


class InThisProcess(Process):
    """A worker without a process of its own: the same requests, the same answers, no start."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__([], absent="not asked yet")
        contender = CONTENDERS[name]
        self.asked: list[dict[str, Any]] = []
        try:
            side = importlib.import_module(f"benchmarks.speed.sides.{contender.side}").SIDE
            self.worker = Worker(side(contender.library, folder))
        except ImportError as error:
            self.absent = str(error)
        else:
            self.absent = ""

    def ask(self, request: dict[str, Any]) -> None:
        self.asked.append(request)

    def answer(self, within: float | None = None) -> dict[str, Any]:
        request = self.asked.pop(0)
        return {"absent": self.absent} if self.absent else self.worker.answer(request)


class QuickPool(Pool):
    """Only who is named has a process: each takes seconds to start, and most are not about it."""

    processes_of: frozenset[str] = frozenset()

    def fresh(self, name: str) -> Process:
        contender = CONTENDERS[name]
        lives_elsewhere = contender.in_peers or (contender.in_checkout and not self.original)
        if lives_elsewhere or name in self.processes_of:
            return super().fresh(name)
        return InThisProcess(name, self.folder)


class OriginalApart(QuickPool):
    """The original's worker is killed when it is slow."""

    processes_of = frozenset({"original"})


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
    with QuickPool(folder, None) as pool:
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


def test_workers_keep_what_later_rows_need(tmp_path: Path) -> None:
    folder, lane = tmp_path / "weights", Lane("xlm_torch", "xlm_torch")
    build(folder, TINY)
    encode, train, rounding = (
        Row(kind, kind, Task(kind, 3, 8, shape=TINY), lanes)
        for kind, lanes in (
            ("encode", (lane,)),
            ("train", (lane,)),
            ("rounding", (Lane("products, PyTorch", "products, PyTorch"),)),
        )
    )
    effort = Effort(rounds=1, least=1)
    with QuickPool(folder, None) as pool:
        measure(encode, pool, effort, [train, rounding])
        assert set(pool.processes) == contenders_of(train, effort)
        (trained,) = measure(train, pool, effort, [rounding]).lanes
        assert set(pool.processes) == {"products, PyTorch"}
        result = measure(rounding, pool, effort)
        assert not pool.processes
    assert not trained.missing
    assert trained.rms is not None
    assert trained.rms < 1e-5
    assert all(0 < error < 1e-6 for error in result.lanes[0].details.values())
    assert "F.linear, 64 inputs" in table(result)


@pytest.mark.parametrize("library", ["torch", "tf"])
def test_optimizers_are_measured_by_themselves(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file of weights."""
    monkeypatch.setattr(tasks, "SECONDS_OF_UPDATES", 0.0)
    (row,) = (row for row in rows(TINY) if row.name == "update")
    ours = f"xlm_{library}"
    lanes = tuple(lane for lane in row.lanes if lane.contender == ours)
    own = tuple(bar for bar in row.bars if bar.ours == ours)
    with QuickPool(tmp_path, None) as pool:
        result = measure(replace(row, lanes=lanes, bars=own), pool, Effort(rounds=1, least=1))
    assert [lane.missing for lane in result.lanes] == [""] * {"torch": 3, "tf": 2}[library]
    assert [bar["peer"] for bar in result.bars()] == [lane.name for lane in lanes[1:]]
    assert not result.limits


# What the side of the original code expects of a checkout.
STAND_IN = """
import torch
from xlm_torch import XLMConfig, XLMWithLMHeadModel

N_MAX_POSITIONS = 512

class TransformerModel(torch.nn.Module):
    def __init__(self, params, dico, is_encoder, with_output):
        super().__init__()
        config = XLMConfig(
            vocab_size=params.n_words, emb_dim=params.emb_dim, n_layers=params.n_layers,
            n_heads=params.n_heads, max_position_embeddings=N_MAX_POSITIONS,
            n_langs=params.n_langs, use_lang_emb=params.use_lang_emb,
        )
        assert len(dico) == params.n_words and len(params.id2lang) == params.n_langs
        self.model = [XLMWithLMHeadModel(config).eval()]  # its names are not the original's

    def load_state_dict(self, tensors):
        encoder = {n: t for n, t in tensors.items() if not n.startswith("pred_layer.")}
        self.model[0].transformer.load_state_dict(encoder)
        self.model[0].pred_layer.proj.bias.data = tensors["pred_layer.proj.bias"]

    def forward(self, mode, **given):
        if mode == "fwd":
            assert not given["causal"]
            hidden = self.model[0].transformer(given["x"].T, lengths=given["lengths"])[0]
            return hidden.transpose(0, 1)
        logits = self.model[0].pred_layer.proj(given["tensor"][given["pred_mask"]])
        return None, torch.nn.functional.cross_entropy(logits, given["y"])
"""


@pytest.mark.full
def test_the_original_is_asked_in_its_own_way(tmp_path: Path) -> None:
    code = tmp_path / "checkout" / "xlm" / "model" / "transformer.py"
    code.parent.mkdir(parents=True)
    code.write_text(STAND_IN)
    folder, lane = tmp_path / "weights", Lane("original code", "original")
    build(folder, TINY)
    effort = Effort(rounds=1, least=1)
    encode, loss = (
        Row(kind, kind, Task(kind, 3, 8, filled=0.7, shape=TINY), (lane,))
        for kind in ("encode", "loss")
    )
    with OriginalApart(folder, None, str(tmp_path / "checkout")) as pool:
        found = [measure(row, pool, effort, [loss]).lanes[0] for row in (encode, loss)]
    for result in found:
        assert not result.missing
        assert result.error is not None
        assert result.error < 1e-5
    with QuickPool(folder, None) as pool:
        assert "XLM_BENCH_ORIGINAL" in measure(encode, pool, effort).lanes[0].missing


# The original is called when it prepares, too: both lanes of a process make two calls.
@pytest.mark.parametrize(
    "calls",
    [pytest.param(2, id="its first", marks=pytest.mark.full), pytest.param(4, id="a later")],
)
def test_a_slow_lane_is_stopped_in_one_call(
    calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "checkout" / "xlm" / "model" / "transformer.py"
    code.parent.mkdir(parents=True)
    slow = "        CALLS.append(mode)\n        time.sleep(600 if len(CALLS) > LIMIT else 0)\n"
    start = "    def forward(self, mode, **given):\n"
    head = f"import time\nCALLS, LIMIT = [], {calls}\n"
    code.write_text(head + STAND_IN.replace(start, start + slow))
    monkeypatch.setattr(speed_measure, "FIRST_CALL", 3.0)
    monkeypatch.setattr(speed_measure, "ANY_CALL", 1.0)
    folder = tmp_path / "weights"
    build(folder, TINY)
    lanes = (Lane("xlm_torch", "xlm_torch"), Lane("slow", "original"), Lane("also", "original"))
    row = Row("encode", "encode", Task("encode", 3, 8, shape=TINY), lanes)
    with OriginalApart(folder, None, str(tmp_path / "checkout")) as pool:
        result = measure(row, pool, Effort(rounds=2, least=2))
    ours, first, second = result.lanes
    assert len(ours.seconds) == 2
    assert first.missing.startswith("stopped in a call that took more than")
    # Its process is another one then, in which it makes one or three calls more.
    if calls == 2:
        assert second.missing.startswith("stopped in a call")
    else:
        assert len(second.seconds) == 2
    assert "stopped in a call" in table(result)


def test_a_lane_that_shares_a_stopped_process_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    build(folder, TINY)
    task = Task("encode", 3, 8, shape=TINY)
    with Pool(folder, None) as pool:
        turns = [
            Turn(Lane(name, "xlm_torch"), pool.of("xlm_torch"), task) for name in ("slow", "fast")
        ]
        for turn in turns:
            turn.request("prepare", task=asdict(task), options={})
        turns[0].request("run", within=0.0)
        assert turns[0].result.missing
        replace_stopped(turns[0], turns, pool)
        turns[1].request("run")
        assert len(turns[1].result.seconds) == 1
        assert not turns[1].result.missing


def test_int8_is_in_a_quick_run() -> None:
    quick = {row.name: lanes_of(row, Effort(quick=True)) for row in rows(TINY) if not row.long}
    names = {lane.name for lane in quick["int8"]}
    assert {"xlm_torch, int8", "xlm_torch", "xlm_torch, bfloat16", "xlm_tf, int8"} <= names
