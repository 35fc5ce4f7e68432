"""Comparing tensors of two checkpoints: what differs is found, named, placed and explained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conversion.convert import convert
from conversion.reports.tensors import ABSENT, DIFFERENT, EQUAL, ROUNDED, TensorRow
from conversion.verification.tensors import (
    compare_weights,
    place_of,
)
from tests.conversion import pairs
from tests.conversion.small_checkpoints import write_checkpoint
from xlm_core.checkpoints import open_checkpoint, save_checkpoint
from xlm_core.checkpoints.fitting import fit_checkpoint
from xlm_core.weights import ENCODER_DECODER


def rows_of(first: Path, second: Path) -> dict[str, TensorRow]:
    opened = [open_checkpoint(path) for path in (first, second)]
    fits = [
        fit_checkpoint(checkpoint, checkpoint.architecture or "XLMModel") for checkpoint in opened
    ]
    return {row.name: row for row in compare_weights((fits[0], fits[1]))}


def off(rows: dict[str, TensorRow]) -> dict[str, str]:
    return {name: row.problem for name, row in rows.items() if row.problem is not None}


def test_equal_ones_are_counted_once(tmp_path: Path) -> None:
    rows = rows_of(*pairs.write_pair(tmp_path, pairs.nothing))
    assert off(rows) == {}
    assert len(rows) == 54  # 3 layers of 16, 3 tables, a norm of 2, the output's bias
    assert sum(row.size for row in rows.values()) == 6653
    assert {row.result for row in rows.values()} == {EQUAL}


def test_one_bit(tmp_path: Path) -> None:
    rows = rows_of(*pairs.write_pair(tmp_path, pairs.flip_a_bit))
    (row,) = [row for row in rows.values() if row.problem]
    assert str(row) == "ffns.2.lin1.bias (layer 2)"
    assert (row.result, row.differing) == (DIFFERENT, 1)
    assert 0 < row.largest < 1e-6
    assert str(row.problem).startswith("1 of 48 values differs, by ")


def test_the_sign_of_zero_is_a_bit(tmp_path: Path) -> None:
    def change(tensors: pairs.Tensors) -> None:
        tensors["pred_layer.proj.bias"][:] = 0.0

    first, _ = pairs.write_pair(tmp_path, change)
    tensors = pairs.tensors_in(tmp_path / "second")
    tensors["pred_layer.proj.bias"][7] = -0.0
    save_checkpoint(first, open_checkpoint(first).config, tensors)
    assert off(rows_of(first, tmp_path / "second")) == {
        "pred_layer.proj.bias": "1 of 53 values differs, by 0.0e+00 at most"
    }


def test_swapped_ones_are_told(tmp_path: Path) -> None:
    found = off(rows_of(*pairs.write_pair(tmp_path, pairs.swap_query_and_key)))
    assert [*found] == ["attentions.1.q_lin.weight", "attentions.1.k_lin.weight"]
    query, key = found.values()
    assert query.endswith("; its values are those of A's attentions.1.k_lin.weight")
    assert key.endswith("; its values are those of A's attentions.1.q_lin.weight")


def test_a_copy_of_another_is_told(tmp_path: Path) -> None:
    def change(tensors: pairs.Tensors) -> None:
        tensors[pairs.QUERY] = tensors["transformer.attentions.2.out_lin.weight"].copy()

    (problem,) = off(rows_of(*pairs.write_pair(tmp_path, change))).values()
    assert problem.endswith("those of A's attentions.2.out_lin.weight")


def test_a_transposed_one_is_told(tmp_path: Path) -> None:
    found = off(rows_of(*pairs.write_pair(tmp_path, pairs.transpose)))
    assert [*found] == ["attentions.0.v_lin.weight"]
    assert found["attentions.0.v_lin.weight"].endswith(
        "; its values are those of A's attentions.0.v_lin.weight, transposed"
    )


def test_a_misshapen_one_may_be_transposed_too(tmp_path: Path) -> None:
    def change(tensors: pairs.Tensors) -> None:
        name = "transformer.ffns.0.lin1.weight"
        tensors[name] = np.ascontiguousarray(tensors[name].T)

    assert off(rows_of(*pairs.write_pair(tmp_path, change))) == {
        "ffns.0.lin1.weight": "shape 48 x 12 in A, 12 x 48 in B; its values are those of A's "
        "ffns.0.lin1.weight, transposed"
    }


def test_what_only_one_has(tmp_path: Path) -> None:
    rows = rows_of(*pairs.write_pair(tmp_path, pairs.rename))
    assert off(rows) == {
        "attentions.1.q_lin.weight": "only A has it",
        pairs.HOSTILE: "only B has it",
    }
    row = rows[pairs.HOSTILE]
    assert (row.result, row.place) == (ABSENT, "no part of it")
    assert [*rows][-1] == pairs.HOSTILE
    assert math.isnan(row.largest)


def test_not_finite_values_are_counted_and_may_be_equal(tmp_path: Path) -> None:
    def change(tensors: pairs.Tensors) -> None:
        tensors[pairs.QUERY][0, :3] = [np.nan, np.inf, -np.inf]

    _, second = pairs.write_pair(tmp_path, change)
    rows = rows_of(second, second)
    assert off(rows) == {}
    assert rows["attentions.1.q_lin.weight"].not_finite == 3
    problem = off(rows_of(tmp_path / "first", second))["attentions.1.q_lin.weight"]
    assert problem == "3 of 144 values differ, some are not finite"


class TestDtypes:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    @pytest.mark.parametrize("turned", [False, True])
    def test_a_rounded_copy(self, tmp_path: Path, dtype: str, turned: bool) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="torch", dtype=dtype)
        names = ["b", "a"] if turned else ["a", "b"]
        rows = rows_of(tmp_path / names[0], tmp_path / names[1])
        assert {row.result for row in rows.values()} == {ROUNDED}
        in_a, in_b = (dtype, "float32") if turned else ("float32", dtype)
        problem = str(rows["attentions.1.q_lin.weight"].problem)
        assert problem.startswith(f"equal after rounding to {dtype}, by ")
        assert problem.endswith(f"({in_a} in A, {in_b} in B)")
        assert 0 < rows["attentions.1.q_lin.weight"].largest < 0.1

    def test_a_copy_in_a_wider_dtype(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="tf", dtype="float64")
        rows = rows_of(tmp_path / "a", tmp_path / "b")
        assert {*off(rows).values()} == {"the same values, but float32 in A, float64 in B"}
        assert {row.differing for row in rows.values()} == {0}

    def test_what_rounding_does_not_explain(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            for name, array in tensors.items():
                tensors[name] = array.astype(np.float16)
            tensors[pairs.QUERY].view(np.uint16)[3, 4] ^= 1
            tensors[pairs.KEY][0, 0] = np.nan

        rows = rows_of(*pairs.write_pair(tmp_path, change))
        wrong = {name: row.problem for name, row in rows.items() if row.result == DIFFERENT}
        assert [*wrong] == ["attentions.1.q_lin.weight", "attentions.1.k_lin.weight"]
        for problem in wrong.values():
            assert str(problem).startswith("float32 in A, float16 in B; rounding does not explain")
        assert math.isnan(rows["attentions.1.k_lin.weight"].largest)

    def test_values_beyond_the_narrow_dtype_round_to_infinity(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            tensors[pairs.QUERY][0, 0] = 1e6

        _, wide = pairs.write_pair(tmp_path, change)
        tensors = pairs.tensors_in(wide)
        with np.errstate(over="ignore"):
            halves = {name: array.astype(np.float16) for name, array in tensors.items()}
        save_checkpoint(tmp_path / "half", open_checkpoint(wide).config, halves)
        rows = rows_of(wide, tmp_path / "half")
        assert {row.result for row in rows.values()} == {ROUNDED}

    def test_nan_in_both_is_no_difference(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            tensors[pairs.QUERY][0, :2] = [np.nan, np.inf]

        _, wide = pairs.write_pair(tmp_path, change)
        convert(wide, tmp_path / "double", to="safetensors", dtype="float64")
        row = rows_of(wide, tmp_path / "double")["attentions.1.q_lin.weight"]
        assert (row.differing, row.largest, row.not_finite) == (0, 0.0, 2)

    def test_whole_numbers_are_another_dtype(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            tensors[pairs.QUERY] = tensors[pairs.QUERY].astype(np.int32)

        assert off(rows_of(*pairs.write_pair(tmp_path, change))) == {
            "attentions.1.q_lin.weight": "float32 in A, int32 in B"
        }


def test_a_tied_output_is_compared_with_one_of_its_own(tmp_path: Path) -> None:
    config = write_checkpoint(tmp_path / "tied")
    tensors = pairs.tensors_in(tmp_path / "tied")
    tensors["pred_layer.proj.weight"] = tensors["transformer.embeddings.weight"].copy()
    untied = config.copy(tie_word_embeddings=False)
    save_checkpoint(tmp_path / "untied", untied, tensors)
    rows = rows_of(tmp_path / "tied", tmp_path / "untied")
    assert rows["pred_layer.proj.weight"].result == EQUAL
    assert off(rows) == {}


@pytest.mark.parametrize("value", [None, 0.5])
def test_a_fixed_table_may_be_left_out(tmp_path: Path, value: float | None) -> None:
    name = "transformer.position_embeddings.weight"
    config = write_checkpoint(tmp_path / "with", sinusoidal_embeddings=True)
    tensors = pairs.tensors_in(tmp_path / "with")
    table = tensors.pop(name)
    save_checkpoint(tmp_path / "without", config, tensors)
    if value is not None:
        table[3, 3] = value
        save_checkpoint(tmp_path / "with", config, {**tensors, name: table})
    rows = rows_of(tmp_path / "with", tmp_path / "without")
    assert [*off(rows)] == ([] if value is None else ["position_embeddings.weight"])


def test_rows_are_in_order_of_computation(shared: Callable[[str], Path]) -> None:
    folder = shared("golden/facebook/mt_encoder_decoder")
    file = next(folder.glob("*.pth"))
    opened = open_checkpoint(file)
    placement = fit_checkpoint(opened, ENCODER_DECODER)
    rows = compare_weights((placement, placement))
    places = [*dict.fromkeys(row.place for row in rows)]
    assert places == [
        f"{part} {place}"
        for part in ("encoder", "decoder")
        for place in ("embeddings", "layer 0", "layer 1", "head")
    ]
    steps = [row.name.split(".")[1] for row in rows if row.place == "decoder layer 1"]
    assert [*dict.fromkeys(steps)] == [
        "attentions",
        "layer_norm1",
        "encoder_attn",
        "layer_norm15",
        "ffns",
        "layer_norm2",
    ]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("embeddings.weight", "embeddings"),
        ("layer_norm_emb.bias", "embeddings"),
        ("layer_norm1.11.bias", "layer 11"),
        ("pred_layer.proj.tail.0.1.weight", "head"),
        ("encoder.layer_norm2.3.weight", "encoder layer 3"),
        ("decoder.pred_layer.proj.bias", "decoder head"),
    ],
)
def test_places(path: str, place: str) -> None:
    assert place_of(path) == place
