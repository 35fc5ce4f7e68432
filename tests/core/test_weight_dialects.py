"""The weight table in the other dialects: TensorFlow's, the original's, Keras'."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.conftest import make_config
from tests.support.cases import random_config
from xlm_core import XLMConfig
from xlm_core.weights import ARCHITECTURES, DIALECTS, Kind, TensorSpec, name_of, tensors_of

HEADS = list(ARCHITECTURES)
# The original's encoder and language model, in file order of one layer and one language table.
HAND_WRITTEN = """
position_embeddings.weight (19, 12)
lang_embeddings.weight (5, 12)
embeddings.weight (53, 12)
layer_norm_emb.weight (12,)
layer_norm_emb.bias (12,)
attentions.0.q_lin.weight (12, 12)
attentions.0.q_lin.bias (12,)
attentions.0.k_lin.weight (12, 12)
attentions.0.k_lin.bias (12,)
attentions.0.v_lin.weight (12, 12)
attentions.0.v_lin.bias (12,)
attentions.0.out_lin.weight (12, 12)
attentions.0.out_lin.bias (12,)
layer_norm1.0.weight (12,)
layer_norm1.0.bias (12,)
ffns.0.lin1.weight (48, 12)
ffns.0.lin1.bias (48,)
ffns.0.lin2.weight (12, 48)
ffns.0.lin2.bias (12,)
layer_norm2.0.weight (12,)
layer_norm2.0.bias (12,)
pred_layer.proj.weight (53, 12)
pred_layer.proj.bias (53,)
"""


def table(
    config: XLMConfig, architecture: str, dialect: Any = "torch"
) -> dict[str, tuple[int, ...]]:
    """Name -> shape in PyTorch's orientation, without the tensors that have no name there."""
    return {
        name: spec.shape
        for spec in tensors_of(config, architecture)
        if (name := name_of(spec, dialect, architecture)) is not None
    }


def test_one_layer_by_hand() -> None:
    shapes = table(make_config(n_layers=1), "XLMWithLMHeadModel", "facebook")
    assert [f"{name} {shape}" for name, shape in shapes.items()] == HAND_WRITTEN.split("\n")[1:-1]


TF_CLASSES = [name for name in HEADS if name != "XLMForQuestionAnswering"]


def tf_reference(values: dict[str, Any], architecture: str) -> dict[str, tuple[int, ...]]:
    import tensorflow as tf

    # Its choice head reads a field that its configuration lacks.
    config = transformers.XLMConfig(**values, initializer_range=0.02)
    model = getattr(transformers, f"TF{architecture}")(config)
    ids = tf.constant([[3, 4, 5]])
    model(ids[:, None] if architecture == "XLMForMultipleChoice" else ids)
    return {v.name.partition("/")[2]: tuple(v.shape) for v in model.weights}


def in_tf_orientation(spec: TensorSpec) -> tuple[int, ...]:
    return spec.shape[::-1] if spec.kind is Kind.MATRIX else spec.shape


@pytest.mark.parametrize("architecture", TF_CLASSES)
@pytest.mark.parametrize(
    "values",
    [
        {"n_langs": 4, "num_labels": 2},
        {"n_langs": 1, "num_labels": 5, "summary_proj_to_labels": True},
        {"n_langs": 4, "use_lang_emb": False, "num_labels": 3},
    ],
    ids=["languages", "one language", "no language table"],
)
def test_tf_names_and_shapes(architecture: str, values: dict[str, Any]) -> None:
    values = values | dict(vocab_size=41, emb_dim=12, n_heads=3, n_layers=2)
    values |= {"max_position_embeddings": 9}
    if architecture == "XLMForQuestionAnsweringSimple":
        values["num_labels"] = 2
    config = XLMConfig(**values)
    ours = {
        name: in_tf_orientation(spec)
        for spec in tensors_of(config, architecture)
        if (name := name_of(spec, "tf", architecture)) is not None
    }
    assert ours == tf_reference(values, architecture)


FACEBOOK_CASES = [
    "adaptive_softmax",
    "clm_causal",
    "mlm_langs",
    "mono_one_language",
    "no_lang_emb",
    "sinusoidal_relu",
    "tlm_positions",
    "training_checkpoint_module_prefix",
    "untied_output",
]


@pytest.mark.parametrize("case", FACEBOOK_CASES)
def test_facebook_names_and_shapes(shared: Callable[[str], Path], case: str) -> None:
    checkpoint = torch.load(
        shared(f"golden/facebook/{case}/checkpoint.pth"), map_location="cpu", weights_only=False
    )
    config = XLMConfig.from_facebook(checkpoint["params"])
    theirs = {
        name.removeprefix("module."): tuple(tensor.shape)
        for name, tensor in checkpoint["model"].items()
    }
    assert table(config, "XLMWithLMHeadModel", "facebook") == theirs


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_facebook_translation_encoder(shared: Callable[[str], Path], part: str) -> None:
    """Both halves hold all of an encoder; the decoder adds its attention to the source."""
    file = shared("golden/facebook/mt_encoder_decoder/best-valid_en-fr_mt_bleu.pth")
    checkpoint = torch.load(file, map_location="cpu", weights_only=False)
    config = XLMConfig.from_facebook(checkpoint["params"])
    theirs = {name: tuple(tensor.shape) for name, tensor in checkpoint[part].items()}
    ours = table(config, "XLMWithLMHeadModel", "facebook")
    extra = {name.partition(".")[0] for name in theirs.keys() - ours.keys()}
    assert extra == ({"layer_norm15", "encoder_attn"} if part == "decoder" else set())
    assert ours == {name: theirs[name] for name in ours}


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("seed", range(6))
def test_names_are_unique_in_each_dialect(seed: int, dialect: Any, architecture: str) -> None:
    config = XLMConfig(**random_config(np.random.default_rng(seed), architecture, 8))
    specs = tensors_of(config, architecture)
    assert len({spec.path for spec in specs}) == len(specs)
    names = [name_of(spec, dialect, architecture) for spec in specs]
    named = [name for name in names if name is not None]
    assert len(set(named)) == len(named)
    if dialect in ("torch", "keras"):
        assert None not in names


def test_keras_names_are_paths_of_attributes() -> None:
    config = make_config(n_layers=1)
    names = list(table(config, "XLMWithLMHeadModel", "keras"))
    assert names[:4] == [
        "transformer/position_embeddings/embeddings",
        "transformer/lang_embeddings/embeddings",
        "transformer/embeddings/embeddings",
        "transformer/layer_norm_emb/gamma",
    ]
    assert "transformer/attentions/0/q_lin/kernel" in names
    assert names[-2:] == ["pred_layer/proj/kernel", "pred_layer/proj/bias"]
    assert "attentions/0/q_lin/bias" in table(config, "XLMModel", "keras")


def test_published_sizes(shared: Callable[[str], Path]) -> None:
    """Parameters with the output bias and the embedding once: sizes of the published files."""
    published = json.loads(shared("reference/published_configs.json").read_text())
    expected = {
        "xlm-mlm-en-2048": 667_119_041,
        "xlm-mlm-ende-1024": 142_422_203,
        "xlm-mlm-enfr-1024": 141_848_203,
        "xlm-mlm-enro-1024": 142_312_528,
        "xlm-mlm-tlm-xnli15-1024": 249_071_384,
        "xlm-mlm-xnli15-1024": 249_071_384,
        "xlm-clm-enfr-1024": 141_848_203,
        "xlm-clm-ende-1024": 142_422_203,
        "xlm-mlm-17-1280": 571_696_960,
        "xlm-mlm-100-1280": 571_696_960,
    }
    counted = {}
    for name, values in published.items():
        config = XLMConfig.from_dict(values)
        specs = tensors_of(config, "XLMWithLMHeadModel")
        counted[name] = sum(int(np.prod(s.shape)) for s in specs if s.tied_to is None)
    assert counted == expected
