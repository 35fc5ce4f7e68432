"""What a model may be called with: shapes, dtypes, combinations, ranges, and the messages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conftest import make_config
from xlm_core import InputError
from xlm_core.inputs import (
    DtypeKind,
    TensorInfo,
    check_call,
    check_head_mask,
    check_range,
    check_tensor,
    value_limits,
)


def info(*shape: int | None, kind: DtypeKind = "integer") -> TensorInfo:
    return TensorInfo(shape, kind)


IDS = info(2, 7)
EMBEDS = info(2, 7, 12, kind="float")

# Every argument at once, in all accepted forms.
ACCEPTED: list[dict[str, TensorInfo]] = [
    {"input_ids": IDS},
    {"inputs_embeds": EMBEDS},
    {"input_ids": info(1, 1)},
    {"input_ids": info(2, 19)},
    {"input_ids": info(2, 40), "position_ids": info(2, 40)},
    *({"input_ids": IDS, "attention_mask": info(2, 7, kind=k)} for k in ("bool", "float")),
    {"input_ids": IDS, "attention_mask": IDS, "langs": IDS, "token_type_ids": IDS},
    {"inputs_embeds": EMBEDS, "lengths": info(2), "position_ids": IDS, "langs": IDS},
    {"input_ids": IDS, "head_mask": info(4, kind="float")},
    {"input_ids": IDS, "head_mask": info(3, 4, kind="float")},
    {"input_ids": IDS, "head_mask": info(3, 1, 4, 1, 1, kind="float")},
    # Unknown while tracing.
    {"input_ids": info(None, None), "attention_mask": IDS},
    {"input_ids": IDS, "attention_mask": info(None, 7), "lengths": info(None)},
    {"inputs_embeds": info(None, None, None, kind="float")},
]


@pytest.mark.parametrize("tensors", ACCEPTED)
def test_accepted(tensors: dict[str, TensorInfo]) -> None:
    leading = tensors.get("input_ids") or tensors["inputs_embeds"]
    assert check_call(make_config(), tensors) == leading.shape[:2]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "neither of input_ids and inputs_embeds was given: give exactly one"),
        (
            {"input_ids": IDS, "inputs_embeds": EMBEDS},
            "both of input_ids and inputs_embeds were given: give exactly one",
        ),
        ({"input_ids": info(7)}, "expected (batch, sequence) = (?, ?)"),
        ({"input_ids": info(1, 2, 7)}, "input_ids has shape (1, 2, 7)"),
        ({"input_ids": info()}, "input_ids has shape ()"),
        ({"input_ids": info(2, 7, kind="float")}, "input_ids has a float dtype: expected integer"),
        ({"input_ids": info(2, 7, kind="bool")}, "input_ids has a bool dtype: expected integer"),
        ({"input_ids": info(0, 7)}, "input_ids has shape (0, 7): it must not be empty"),
        ({"input_ids": info(2, 0)}, "input_ids has shape (2, 0): it must not be empty"),
        (
            {"inputs_embeds": info(2, 7, 13, kind="float")},
            "inputs_embeds has shape (2, 7, 13): expected (batch, sequence, emb_dim) = (?, ?, 12)",
        ),
        (
            {"inputs_embeds": info(2, 7, 12)},
            "integer dtype: expected float",
        ),
        (
            {"input_ids": info(2, 20)},
            "the sequence has 20 positions, but the model has 19 (max_position_embeddings)",
        ),
        (
            {"inputs_embeds": info(2, 20, 12, kind="float")},
            "the sequence has 20 positions, but the model has 19",
        ),
        *(
            ({"input_ids": IDS, name: info(2, 6)}, f"{name} has shape (2, 6): expected (batch, seq")
            for name in ("attention_mask", "langs", "token_type_ids", "position_ids")
        ),
        *(
            ({"input_ids": IDS, name: info(2, 7, kind="float")}, f"{name} has a float dtype")
            for name in ("langs", "token_type_ids", "position_ids")
        ),
        (
            {"input_ids": IDS, "attention_mask": info(2, 7, 7)},
            "attention_mask has shape (2, 7, 7): expected (batch, sequence) = (2, 7)",
        ),
        ({"input_ids": IDS, "lengths": info(3)}, "expected (batch,) = (2"),
        ({"input_ids": IDS, "lengths": info(2, 1)}, "lengths has shape (2, 1)"),
        ({"input_ids": IDS, "lengths": info(2, kind="float")}, "lengths has a float dtype"),
        (
            {"input_ids": IDS, "head_mask": info(3, kind="float")},
            "(heads,) = (4,), (layers, heads) = (3, 4)",
        ),
    ],
)
def test_refused(tensors: dict[str, TensorInfo], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_call(make_config(), tensors)
    assert message in str(caught.value)


def test_position_ids_do_not_lift_the_limit_of_shapes() -> None:
    with pytest.raises(InputError, match="position_ids has shape"):
        check_call(make_config(), {"input_ids": info(2, 40), "position_ids": info(2, 39)})


@pytest.mark.parametrize("cached", [0, 1, 6])
def test_cache_with_new_positions(cached: int) -> None:
    assert check_call(make_config(causal=True), {"input_ids": IDS}, cached) == (2, 7)


@pytest.mark.parametrize("cached", [7, 8])
def test_cache_without_new_positions(cached: int) -> None:
    with pytest.raises(InputError, match=f"the cache holds {cached} positions and the call 7"):
        check_call(make_config(causal=True), {"input_ids": IDS}, cached)


@pytest.mark.parametrize("cached", [0, 3])
def test_cache_of_a_bidirectional_model(cached: int) -> None:
    with pytest.raises(InputError, match="causal=True only"):
        check_call(make_config(), {"input_ids": IDS}, cached)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (3, 2, 4, 7, 7), (3, 1, 1, 1, 1)])
def test_head_mask_accepted(shape: tuple[int, ...]) -> None:
    check_head_mask(make_config(), info(*shape, kind="float"))


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (3, 4, 7), (2, 4), (3, 4, 7, 7)])
def test_head_mask_refused(shape: tuple[int, ...]) -> None:
    message = r"head_mask has shape .* \(heads,\) = \(4,\).*\(layers, heads\) = \(3, 4\)"
    with pytest.raises(InputError, match=message):
        check_head_mask(make_config(), info(*shape, kind="float"))


@pytest.mark.parametrize("shape", [(2, 2, 4, 7, 7), (3, 2, 5, 7, 7), (9, 9, 9, 9, 9)])
def test_head_mask_of_five_dimensions_must_fit_layers_and_heads(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="head_mask has shape"):
        check_head_mask(make_config(), info(*shape, kind="float"))


def test_head_mask_of_unknown_shape_passes_while_tracing() -> None:
    check_head_mask(make_config(), info(None, kind="float"))
    check_head_mask(make_config(), info(3, None, kind="float"))


@pytest.mark.parametrize(("smallest", "largest"), [(0, 0), (0, 4), (4, 4), (2, 3)])
def test_range_accepted(smallest: int, largest: int) -> None:
    check_range("langs", smallest, largest, 5, "the languages")


@pytest.mark.parametrize(
    ("smallest", "largest", "found"), [(-1, 3, -1), (0, 5, 5), (-100, -100, -100), (-2, 9, -2)]
)
def test_range_refused(smallest: int, largest: int, found: int) -> None:
    message = f"langs holds {found}: expected values in [0, 5), the languages."
    with pytest.raises(InputError, match=re.escape(message)):
        check_range("langs", smallest, largest, 5, "the languages")


@pytest.mark.parametrize(
    ("values", "langs"),
    [({}, 5), ({"n_langs": 1}, None), ({"use_lang_emb": False}, None), ({"n_langs": 2}, 2)],
)
def test_limits_of_values(values: dict[str, Any], langs: int | None) -> None:
    limits = {name: limit for name, (limit, _) in value_limits(make_config(**values), 7).items()}
    expected = {
        "input_ids": 53,
        "token_type_ids": 53,
        "position_ids": 19,
        "lengths": 8,
    }
    assert limits == (expected if langs is None else expected | {"langs": langs})
    assert all(rule for _, rule in value_limits(make_config(**values), 7).values())


def test_check_tensor_names_all_kinds() -> None:
    with pytest.raises(InputError, match=r"x has a float dtype: expected bool or integer\."):
        check_tensor("x", info(2, kind="float"), (2,), "(batch,)", ("bool", "integer"))
    with pytest.raises(InputError, match=r"x has shape \(2, \?\): expected \(batch,\) = \(2"):
        check_tensor("x", info(2, None), (2,), "(batch,)")
    check_tensor("x", info(None, kind="bool"), (2,), "(batch,)", ("bool", "integer"))
