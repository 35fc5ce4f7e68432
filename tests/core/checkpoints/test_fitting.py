"""`fit` says what `match_checkpoint` raises: the same lists, for every way to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conversion.pairs import QUERY
from tests.conversion.small_checkpoints import small_config, write_checkpoint
from xlm_core.checkpoints import LazyTensor, match_checkpoint, open_checkpoint
from xlm_core.checkpoints.fitting import class_of, fit_checkpoint
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.errors import CheckpointError
from xlm_core.weights import ARCHITECTURES

Lazy = dict[str, LazyTensor]


def array(*shape: int, dtype: Any = np.float32) -> LazyTensor:
    return LazyTensor.of(np.ones(shape, dtype))


def as_old_spelling(tensors: Lazy) -> None:
    for name in [*tensors]:
        if "layer_norm" in name:
            new = name.replace(".weight", ".gamma").replace(".bias", ".beta")
            tensors[new] = tensors.pop(name)


def without_stem(tensors: Lazy) -> None:
    for name in [*tensors]:
        tensors[name.removeprefix("transformer.")] = tensors.pop(name)


CHANGES: dict[str, Callable[[Lazy], object]] = {
    "nothing": lambda t: None,
    "missing": lambda t: t.pop(QUERY),
    "missing of the head": lambda t: t.pop("pred_layer.proj.bias"),
    "unexpected": lambda t: t.update(extra=array(3)),
    "misshapen": lambda t: t.update({QUERY: array(12, 13)}),
    "whole numbers": lambda t: t.update({QUERY: array(12, 12, dtype=np.int64)}),
    "another head": lambda t: t.update({"classifier.weight": array(7, 12)}),
    "buffer": lambda t: t.update(position_ids=array(1, 19, dtype=np.int64)),
    "tied twice": lambda t: t.update(
        {"pred_layer.proj.weight": t["transformer.embeddings.weight"]}
    ),
    "old spelling": as_old_spelling,
    "without stem": without_stem,
    "several": lambda t: (
        t.pop(QUERY),
        t.update({"x": array(1), "lang_embeddings.weight": array(2)}),
    ),
}


def opened(folder: Path, change: Callable[[Lazy], object], **values: Any) -> Checkpoint:
    write_checkpoint(folder, **values)
    checkpoint = open_checkpoint(folder)
    tensors = dict(checkpoint.tensors)
    change(tensors)
    return replace(checkpoint, tensors=tensors)


@pytest.mark.parametrize("change", [*CHANGES])
@pytest.mark.parametrize("values", [{}, {"sinusoidal_embeddings": True}, {"n_langs": 1}])
def test_agrees_with_what_opening_says(tmp_path: Path, change: str, values: dict[str, Any]) -> None:
    checkpoint = opened(tmp_path, CHANGES[change], **values)
    found = fit_checkpoint(checkpoint, "XLMWithLMHeadModel")
    try:
        match = match_checkpoint(checkpoint, "XLMWithLMHeadModel", quiet=True)
    except CheckpointError as error:
        assert found.problems()
        for problem in found.problems():
            assert problem in str(error)
        lists = ("missing", "unexpected", "misshapen")
        assert sum(f"{what} (" in str(error) for what in lists) == len(found.problems())
    else:
        assert [spec.path for spec in found.missing] == [spec.path for spec in match.fresh]
        assert not found.unexpected
        assert not found.misshapen
        assert found.left_out == match.left_out
        for spec, tensor in match.found:
            assert found.tensor(spec) is tensor
    assert (change == "nothing") <= (not found.problems())


@pytest.mark.parametrize("architecture", [*ARCHITECTURES])
def test_every_class_fits_itself(tmp_path: Path, architecture: str) -> None:
    write_checkpoint(tmp_path, architecture)
    checkpoint = open_checkpoint(tmp_path)
    assert class_of(checkpoint) == architecture
    found = fit_checkpoint(checkpoint, architecture)
    assert found.problems() == []
    assert found.left_out == ()
    assert {path for path, _ in found.placed.items()} == {
        spec.path for spec in found.specs if spec.tied_to is None
    }


def test_an_adaptive_softmax_ignores_a_stray_matrix(tmp_path: Path) -> None:
    asm = {"asm": True, "asm_cutoffs": [9, 20], "asm_div_value": 2.0}
    stray = {"pred_layer.proj.weight": array(53, 12)}
    checkpoint = opened(tmp_path, lambda t: t.update(stray), **asm)
    found = fit_checkpoint(checkpoint, "XLMWithLMHeadModel")
    assert found.ignored == ("pred_layer.proj.weight",)
    assert not found.problems()
    match_checkpoint(checkpoint, "XLMWithLMHeadModel")  # it opens


def test_ties_are_compared_when_asked(tmp_path: Path) -> None:
    other = array(53, 12)
    checkpoint = opened(tmp_path, lambda t: t.update({"pred_layer.proj.weight": other}))
    found = fit_checkpoint(checkpoint, "XLMWithLMHeadModel")
    pair = ("pred_layer.proj.weight", "embeddings.weight")
    assert found.repeated == (pair,)
    assert found.differing_ties() == [pair]
    with pytest.raises(CheckpointError, match="tied by the configuration"):
        match_checkpoint(checkpoint, "XLMWithLMHeadModel")


def test_a_class_that_is_not_known_is_told_by_its_tensors(tmp_path: Path) -> None:
    for names, expected in ((["Other"], "XLMWithLMHeadModel"), (None, "XLMWithLMHeadModel")):
        checkpoint = replace(
            opened(tmp_path, CHANGES["nothing"]), config=small_config(architectures=names)
        )
        assert class_of(checkpoint) == expected
