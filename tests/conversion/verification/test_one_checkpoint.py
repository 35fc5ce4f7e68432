"""`verify` on real folders: all heads pass, and one changed weight is found where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion import verify
from tests.conversion.small_checkpoints import require_frameworks, small_config, write_checkpoint
from tests.support.shared import shared_path
from xlm_core.weights import ARCHITECTURES


@pytest.fixture(autouse=True)
def _frameworks() -> None:
    require_frameworks()


def assert_passes(folder: Path, architecture: str) -> Any:
    report = verify(folder)
    assert report.passed, report.verdict()
    assert report.architecture == architecture
    names = {row.name for row in report.rows if row.dtype == "float64"}
    assert names == {row.name for row in report.rows if row.dtype == "float32"}
    assert ("loss" in names) == (architecture != "XLMModel")
    return report


OUTPUTS = {
    "XLMModel": {"last_hidden_state"},
    "XLMForQuestionAnsweringSimple": {"start_logits", "end_logits"},
    "XLMForQuestionAnswering": {
        "start_top_log_probs",
        "start_top_index",
        "end_top_log_probs",
        "end_top_index",
        "cls_logits",
    },
}


@pytest.mark.parametrize("architecture", [*ARCHITECTURES])
def test_every_head_passes(tmp_path: Path, architecture: str) -> None:
    import torch

    import xlm_torch

    write_checkpoint(tmp_path / "written", architecture)
    model = xlm_torch.from_pretrained(tmp_path / "written", dtype=torch.float64)
    model.save_pretrained(tmp_path / "saved")
    report = assert_passes(tmp_path / "saved", architecture)
    outputs = {row.name for row in report.rows if row.is_output}
    assert outputs == OUTPUTS.get(architecture, {"logits"})
    names = [row.name for row in report.rows if row.dtype == "float64"]
    assert names[:4] == [
        "hidden_states[0]",
        "attentions[0]",
        "hidden_states[1]",
        "attentions[1]",
    ]
    assert names.index("hidden_states[3]") == 6


@pytest.mark.parametrize(
    ("architecture", "values"),
    [
        ("XLMWithLMHeadModel", {"causal": True, "sinusoidal_embeddings": True}),
        ("XLMWithLMHeadModel", {"asm": True, "asm_cutoffs": [9, 20], "asm_div_value": 2.0}),
        ("XLMWithLMHeadModel", {"tie_word_embeddings": False, "gelu_activation": False}),
        ("XLMWithLMHeadModel", {"n_langs": 1, "pruned_heads": {1: [0, 2]}}),
        pytest.param("XLMForSequenceClassification", {"num_labels": 1}, marks=pytest.mark.full),
        ("XLMForSequenceClassification", {"problem_type": "multi_label_classification"}),
        ("XLMForSequenceClassification", {"summary_use_proj": False, "problem_type": None}),
        ("XLMForQuestionAnswering", {"start_n_top": 3, "end_n_top": 19}),
    ],
)
def test_configurations_pass(tmp_path: Path, architecture: str, values: dict[str, Any]) -> None:
    write_checkpoint(tmp_path, architecture, **values)
    report = verify(tmp_path)
    assert report.passed, report.verdict()


def test_no_architecture_means_what_the_tensors_are(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, architectures=None)
    assert_passes(tmp_path, "XLMWithLMHeadModel")


# A change of one weight -> the first tensor that shows it.
CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "word embeddings": (lambda m: m.transformer.embeddings, "hidden_states[0]"),
    "value of layer 1": (lambda m: m.transformer.attentions[1].v_lin, "hidden_states[2]"),
    "query of layer 2": (lambda m: m.transformer.attentions[2].q_lin, "attentions[2]"),
    "second matrix of layer 1": (lambda m: m.transformer.ffns[1].lin2, "hidden_states[2]"),
    "classifier": (lambda m: m.classifier, "logits"),
}


# Which family is off makes no difference to what finds it: one change of each kind is enough there.
@pytest.mark.parametrize(
    ("family", "change_of"),
    [
        *(("PyTorch", change) for change in CHANGES),
        ("TensorFlow", "word embeddings"),
        ("TensorFlow", "query of layer 2"),
        *(
            pytest.param("TensorFlow", change, marks=pytest.mark.full)
            for change in ("value of layer 1", "second matrix of layer 1", "classifier")
        ),
    ],
)
def test_a_changed_weight_is_found(
    tmp_path: Path, monkeypatch: Any, family: str, change_of: str
) -> None:
    part, expected = CHANGES[change_of]

    def change(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return array * (1 + 1e-7)

    report = tampered(tmp_path, monkeypatch, family, part, change)
    off = report.first_off
    assert off is not None
    assert off.dtype == "float64"
    assert off.name == expected
    assert report.text().splitlines()[-1].startswith(f"FAILED: first off in float64: {expected}")


def test_nan_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    def change(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.full_like(array, np.nan)

    report = tampered(tmp_path, monkeypatch, "TensorFlow", CHANGES["value of layer 1"][0], change)
    verdict = report.verdict()
    assert "hidden_states[2] (output of layer 1), " in verdict
    assert verdict.endswith("values are NaN or infinite in TensorFlow")


def tampered(
    folder: Path,
    monkeypatch: Any,
    family: str,
    part: Callable[[Any], Any],
    change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
) -> Any:
    """The report where one family changes the main weight of `part` after loading."""
    import torch

    import xlm_tf
    import xlm_torch

    architecture = "XLMForTokenClassification"
    write_checkpoint(folder, architecture)
    package = xlm_torch if family == "PyTorch" else xlm_tf
    original = package.MODEL_CLASSES[architecture].from_pretrained

    def from_pretrained(*arguments: Any, **options: Any) -> Any:
        model = original(*arguments, **options)
        layer = part(model)
        if family == "PyTorch":
            changed = torch.from_numpy(change(layer.weight.detach().numpy()))
            layer.weight.data.copy_(changed)
        else:
            variable = layer.embeddings if hasattr(layer, "embeddings") else layer.kernel
            variable.assign(change(variable.numpy()))
        return model

    monkeypatch.setattr(package.MODEL_CLASSES[architecture], "from_pretrained", from_pretrained)
    return verify(folder)


def test_settings_are_restored(tmp_path: Path) -> None:
    import tensorflow as tf
    import torch

    write_checkpoint(tmp_path)
    before = torch.get_float32_matmul_precision()
    random_state = torch.random.get_rng_state()
    try:
        torch.set_float32_matmul_precision("high")
        assert verify(tmp_path).passed
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.allow_tf32
        assert tf.config.experimental.tensor_float_32_execution_enabled()
        assert torch.equal(torch.random.get_rng_state(), random_state)
    finally:
        torch.set_float32_matmul_precision(before)


def test_trained_model() -> None:
    assert_passes(shared_path("checkpoints/small_mlm_tlm/hf"), "XLMWithLMHeadModel")


# That transformers' folders of all heads open is held elsewhere, that all heads verify above.
@pytest.mark.parametrize(
    "architecture",
    [
        name
        if name in ("XLMWithLMHeadModel", "XLMForQuestionAnswering")
        else pytest.param(name, marks=pytest.mark.full)
        for name in ARCHITECTURES
    ],
)
def test_folders_of_transformers(tmp_path: Path, architecture: str) -> None:
    require_frameworks("transformers")
    import torch
    import transformers

    small = small_config(architecture)
    names = ("vocab_size", "emb_dim", "n_layers", "n_heads", "n_langs", "max_position_embeddings")
    config = transformers.XLMConfig(
        **{name: getattr(small, name) for name in names}, num_labels=small.num_labels
    )
    generator = torch.Generator().manual_seed(3)
    model = getattr(transformers, architecture)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(tmp_path)
    assert_passes(tmp_path, architecture)
