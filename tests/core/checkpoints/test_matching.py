"""Which tensor goes where: any head's file into any head, and everything wrong in one error."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from tests.conftest import make_config
from xlm_core import CheckpointError, XLMConfig, XLMWarning
from xlm_core.checkpoints import LazyTensor, Match, match_tensors
from xlm_core.weights import ARCHITECTURES, name_of, tensors_of

HEADS = list(ARCHITECTURES)
LM = "XLMWithLMHeadModel"


def lazy(shape: tuple[int, ...], value: float = 0.0) -> LazyTensor:
    return LazyTensor.of(np.full(shape, value, np.float32))


def file_of(config: XLMConfig, architecture: str, *, tied: bool = False) -> dict[str, LazyTensor]:
    """The tensors of a file; `tied`: with the tied ones stored a second time, equal."""
    return {
        str(name_of(spec, "torch", architecture)): lazy(spec.shape)
        for spec in tensors_of(config, architecture)
        if tied or spec.tied_to is None
    }


def match(tensors: dict[str, LazyTensor], architecture: str = LM, **values: Any) -> Match:
    """Match, with every warning an error."""
    names = ("ignore_mismatched_sizes", "untie")
    options = {name: values.pop(name) for name in names if name in values}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return match_tensors(tensors, make_config(**values), architecture, "the file", **options)


@pytest.mark.parametrize("architecture", HEADS)
def test_a_file_fits_its_own_class(architecture: str) -> None:
    config = make_config(num_labels=2)
    tensors = file_of(config, architecture)
    result = match(tensors, architecture, num_labels=2)
    expected = {spec.path: spec for spec in tensors_of(config, architecture) if not spec.tied_to}
    assert [spec.path for spec, _ in result.found] == list(expected)
    assert result.fresh == result.left_out == ()
    for spec, tensor in result.found:
        assert tensor is tensors[str(name_of(spec, "torch", architecture))]


@pytest.mark.parametrize("source", HEADS)
@pytest.mark.parametrize("target", HEADS)
def test_any_file_in_any_class(source: str, target: str) -> None:
    """The encoder is always found; a head that is not there starts fresh, and is named."""
    config = make_config(num_labels=2)
    tensors = file_of(config, source)
    wanted = {spec.path for spec in tensors_of(config, target) if spec.tied_to is None}
    fresh = wanted - {spec.path for spec in tensors_of(config, source)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = match_tensors(tensors, config, target, "the file")
    assert {spec.path for spec, _ in result.found} == wanted - fresh
    assert {spec.path for spec in result.fresh} == fresh
    used = {name_of(spec, "torch", source) for spec, _ in result.found}
    assert set(result.left_out) == tensors.keys() - used
    assert len(caught) == bool(fresh)
    for warning in caught:
        assert warning.category is XLMWarning
        assert all(path in str(warning.message) for path in fresh)
        assert all(name in str(warning.message) for name in result.left_out)


def test_everything_wrong_is_in_one_error() -> None:
    tensors = file_of(make_config(), LM)
    del tensors["transformer.attentions.1.k_lin.bias"]
    del tensors["transformer.layer_norm2.2.weight"]
    tensors["transformer.attentions.0.extra"] = lazy((1,))
    tensors["adapter.weight"] = lazy((1,))
    tensors["transformer.ffns.0.lin1.weight"] = lazy((12, 48))
    tensors["transformer.embeddings.weight"] = lazy((54, 12))
    with pytest.raises(CheckpointError) as caught:
        match(tensors)
    message = str(caught.value)
    for part in (
        "the file does not fit XLMWithLMHeadModel",
        "missing (2): attentions.1.k_lin.bias, layer_norm2.2.weight",
        "unexpected (2): transformer.attentions.0.extra, adapter.weight",
        "misshapen (2): ",
        "embeddings.weight: found (54, 12), expected (53, 12)",
        "ffns.0.lin1.weight: found (12, 48), expected (48, 12)",
    ):
        assert part in message


@pytest.mark.parametrize("name", sorted(file_of(make_config(n_layers=1), LM)))
def test_no_tensor_can_be_missing(name: str) -> None:
    tensors = file_of(make_config(n_layers=1), LM)
    del tensors[name]
    if name == "pred_layer.proj.bias":  # all of the head that is stored apart from the embedding
        with pytest.warns(XLMWarning, match="started fresh"):
            match_tensors(tensors, make_config(n_layers=1), LM, "the file")
    else:
        with pytest.raises(CheckpointError, match=re.escape(name.removeprefix("transformer."))):
            match(tensors, n_layers=1)


@pytest.mark.parametrize("name", sorted(file_of(make_config(n_layers=1), LM)))
def test_every_shape_is_checked(name: str) -> None:
    tensors = file_of(make_config(n_layers=1), LM)
    shape = tensors[name].shape
    for wrong in ((*shape, 1), shape[1:], (shape[0] + 1, *shape[1:])):
        with pytest.raises(CheckpointError, match=r"misshapen \(1\)"):
            match({**tensors, name: lazy(wrong)}, n_layers=1)


def test_half_a_head_is_missing_not_fresh() -> None:
    tensors = file_of(make_config(), "XLMForTokenClassification")
    del tensors["classifier.bias"]
    with pytest.raises(CheckpointError, match=r"missing \(1\): classifier\.bias"):
        match(tensors, "XLMForTokenClassification")


def test_another_number_of_labels() -> None:
    tensors = file_of(make_config(num_labels=3), "XLMForTokenClassification")
    with pytest.raises(CheckpointError, match="ignore_mismatched_sizes=True"):
        match(tensors, "XLMForTokenClassification")
    with pytest.warns(XLMWarning, match=r"started fresh.*classifier\.weight, classifier\.bias"):
        result = match_tensors(
            tensors,
            make_config(),
            "XLMForTokenClassification",
            "the file",
            ignore_mismatched_sizes=True,
        )
    assert [spec.path for spec in result.fresh] == ["classifier.weight", "classifier.bias"]


def test_mismatched_sizes_of_the_encoder_start_afresh_if_asked_for() -> None:
    tensors = file_of(make_config(vocab_size=60), LM)
    with pytest.raises(CheckpointError, match=r"embeddings\.weight: found \(60, 12\)"):
        match(tensors)
    with pytest.warns(XLMWarning, match=r"Of another size: embeddings\.weight \(\(60, 12\)"):
        result = match_tensors(tensors, make_config(), LM, "it", ignore_mismatched_sizes=True)
    assert [spec.path for spec in result.fresh] == ["embeddings.weight", "pred_layer.proj.bias"]


def test_tied_copies_must_be_equal() -> None:
    tensors = file_of(make_config(), LM, tied=True)
    paths = [spec.path for spec, _ in match(tensors).found]
    assert "pred_layer.proj.weight" not in paths  # it is the embedding; read once
    tensors["pred_layer.proj.weight"] = lazy((53, 12), 1.0)
    with pytest.raises(CheckpointError, match=r"different values.*tie_word_embeddings=False"):
        match(tensors)
    untied = match(tensors, tie_word_embeddings=False)
    assert "pred_layer.proj.weight" in [spec.path for spec, _ in untied.found]


def test_tied_copies_of_nan_are_equal() -> None:
    tensors = file_of(make_config(), LM)
    for name in ("pred_layer.proj.weight", "transformer.embeddings.weight"):
        tensors[name] = lazy((53, 12), np.nan)
    assert len(match(tensors).found) == len(tensors) - 1


def test_only_untying_copies_the_embeddings() -> None:
    tied = file_of(make_config(), LM)
    with pytest.raises(CheckpointError, match=r"missing \(1\): pred_layer\.proj\.weight"):
        match(tied, tie_word_embeddings=False)
    result = match(tied, tie_word_embeddings=False, untie=True)
    found = {spec.path: tensor for spec, tensor in result.found}
    assert found["pred_layer.proj.weight"] is found["embeddings.weight"]


@pytest.mark.parametrize("stem", ["", "transformer."])
def test_legacy_names(stem: str) -> None:
    architecture = LM if stem else "XLMModel"
    tensors = {
        re.sub(
            r"(layer_norm.*)weight$", r"\1gamma", re.sub(r"(layer_norm.*)bias$", r"\1beta", n)
        ): t
        for n, t in file_of(make_config(), architecture).items()
    }
    assert f"{stem}layer_norm_emb.gamma" in tensors
    assert f"{stem}layer_norm1.0.beta" in tensors
    tensors[f"{stem}position_ids"] = lazy((1, 19))
    assert len(match(tensors, architecture).found) == len(tensors) - 1


def test_the_fixed_table_may_be_absent() -> None:
    config = make_config(sinusoidal_embeddings=True)
    tensors = file_of(config, LM)
    del tensors["transformer.position_embeddings.weight"]
    result = match(tensors, sinusoidal_embeddings=True)
    assert len(result.found) == len(tensors)


def test_the_stray_matrix_beside_an_adaptive_softmax_is_passed_over() -> None:
    values = {"asm": True, "asm_cutoffs": [20, 40], "asm_div_value": 2}
    tensors = file_of(make_config(**values), LM)
    tensors["pred_layer.proj.weight"] = lazy((53, 12))
    assert len(match(tensors, **values).found) == len(tensors) - 1
