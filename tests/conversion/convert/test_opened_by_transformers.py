"""What is written opens in transformers, and gives the outputs of what was read."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from conversion.convert import convert
from tests.conversion.small_checkpoints import require_frameworks
from xlm_core.weights import ARCHITECTURES

SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "emb_dim": 12,
    "n_layers": 2,
    "n_heads": 3,
    "n_langs": 5,
    "max_position_embeddings": 19,
    "num_labels": 2,
}
IDS = np.array([[0, 14, 15, 16, 1], [0, 17, 18, 1, 2]])
LANGS = np.ones_like(IDS)
# Its classes, and not ours, warn when they are made.
pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = [name for name in ARCHITECTURES if name != "XLMForQuestionAnswering"]


def reference(folder: Path, architecture: str, **options: Any) -> Any:
    """A model of transformers with random biases and norms, saved as transformers saves it."""
    torch.manual_seed(0)
    config = transformers.XLMConfig(**SIZES)
    model = getattr(transformers, architecture)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder, **options)
    return model


def inputs(architecture: str) -> dict[str, Any]:
    arrays = {"input_ids": IDS, "attention_mask": (IDS != 2).astype(np.int64), "langs": LANGS}
    if architecture == "XLMForMultipleChoice":
        return {name: np.stack([array] * 3, 1) for name, array in arrays.items()}
    return arrays


def outputs(model: Any, architecture: str) -> list[np.ndarray[Any, Any]]:
    batch = {name: torch.from_numpy(array) for name, array in inputs(architecture).items()}
    with torch.no_grad():
        return [t.numpy() for t in model(**batch).to_tuple() if isinstance(t, torch.Tensor)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("to", "largest"), [*itertools.product(("safetensors", "torch"), (None, "4KB"))]
)
def test_pytorch_opens_it(tmp_path: Path, architecture: str, to: str, largest: str | None) -> None:
    """Through TensorFlow's layout and back, where there is one."""
    model = reference(tmp_path / "theirs", architecture, safe_serialization=to == "torch")
    between = "tf" if architecture in BOTH else "keras"
    convert(tmp_path / "theirs", tmp_path / "between", to=between)
    convert(tmp_path / "between", tmp_path / "ours", to=to, largest=largest)
    again, info = getattr(transformers, architecture).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values()), info
    state = again.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())
    for one, other in zip(
        outputs(again.eval(), architecture), outputs(model, architecture), strict=True
    ):
        assert np.abs(one - other).max() < 1e-6


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("largest", [None, "4KB"])
def test_tensorflow_opens_it(tmp_path: Path, architecture: str, largest: str | None) -> None:
    require_frameworks("tf_keras")
    model = reference(tmp_path / "theirs", architecture)
    convert(tmp_path / "theirs", tmp_path / "ours", to="tf", largest=largest)
    keras_model, info = getattr(transformers, f"TF{architecture}").from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    # A dropout layer without weights, numbered as it is made, is a missing key to transformers,
    # with its own files too.
    named = [key for keys in info.values() for key in keys if not key.startswith("dropout")]
    assert not named, info
    import tensorflow as tf

    batch = {name: tf.constant(array) for name, array in inputs(architecture).items()}
    theirs = keras_model(batch)
    found = [t.numpy() for t in theirs.to_tuple()]
    for one, other in zip(found, outputs(model, architecture), strict=True):
        assert np.abs(one - other).max() < 1e-5


@pytest.mark.parametrize("architecture", BOTH)
def test_what_tensorflow_wrote_is_opened(tmp_path: Path, architecture: str) -> None:
    """Single, in shards, as safetensors: each equals what it was made from."""
    require_frameworks("tf_keras")
    reference(tmp_path / "theirs", architecture)
    convert(tmp_path / "theirs", tmp_path / "ours", to="tf")
    keras_model = getattr(transformers, f"TF{architecture}").from_pretrained(tmp_path / "ours")
    forms: dict[str, dict[str, Any]] = {
        "single": {"safe_serialization": False},
        "shards": {"safe_serialization": False, "max_shard_size": "4KB"},
        "safetensors": {"safe_serialization": True},
        "safetensors in shards": {"safe_serialization": True, "max_shard_size": "4KB"},
    }
    for name, options in forms.items():
        keras_model.save_pretrained(tmp_path / name, **options)
        convert(tmp_path / name, tmp_path / f"{name} back", to="safetensors")
        one, other = (
            getattr(transformers, architecture).from_pretrained(tmp_path / place).state_dict()
            for place in (f"{name} back", "theirs")
        )
        assert all(torch.equal(one[key], other[key]) for key in other), name


@pytest.mark.parametrize("architecture", BOTH)
def test_tensorflow_opens_its_safetensors(tmp_path: Path, architecture: str) -> None:
    require_frameworks("tf_keras")
    reference(tmp_path / "theirs", architecture)
    convert(tmp_path / "theirs", tmp_path / "ours", to="tf-safetensors")
    convert(tmp_path / "theirs", tmp_path / "h5", to="tf")
    one, other = (
        getattr(transformers, f"TF{architecture}").from_pretrained(tmp_path / place)
        for place in ("ours", "h5")
    )
    for first, second in zip(one.weights, other.weights, strict=True):
        assert np.array_equal(first.numpy(), second.numpy()), first.name


def test_torch_itself_loads_the_pickles(tmp_path: Path) -> None:
    model = reference(tmp_path / "theirs", "XLMWithLMHeadModel")
    convert(tmp_path / "theirs", tmp_path / "bin", to="torch")
    state = torch.load(tmp_path / "bin" / "pytorch_model.bin", weights_only=True)
    assert {*state} == {*model.state_dict()}
    tied = state["pred_layer.proj.weight"], state["transformer.embeddings.weight"]
    assert tied[0].untyped_storage().data_ptr() == tied[1].untyped_storage().data_ptr()
