"""The published interface: names, orders, defaults; and that importing changes nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
import torch
import transformers

import xlm_torch
from tests.conftest import make_config
from tests.support.shared import ROOT
from xlm_core.outputs import OUTPUT_CLASSES
from xlm_core.weights import ARCHITECTURES
from xlm_torch import MODEL_CLASSES, XLMModel, XLMWithLMHeadModel

EACH = pytest.mark.parametrize("architecture", ARCHITECTURES)
IDS = torch.randint(6, 53, (2, 6), generator=torch.Generator().manual_seed(0))


def _arguments(model_class: Any) -> list[str]:
    parameters = inspect.signature(model_class.forward).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


@EACH
def test_forward_takes_the_arguments_of_transformers_in_order(architecture: str) -> None:
    theirs = _arguments(getattr(transformers, architecture))
    expected = [name for name in theirs if name != "cache_position"]
    assert _arguments(MODEL_CLASSES[architecture]) == expected
    parameters = inspect.signature(MODEL_CLASSES[architecture].forward).parameters
    defaults = [parameters[name].default for name in expected if name != "self"]
    assert defaults == [None] * len(defaults)


@EACH
def test_outputs_have_the_fields_of_transformers(architecture: str) -> None:
    names = {
        "XLMModel": "BaseModelOutput",
        "XLMWithLMHeadModel": "MaskedLMOutput",
        "XLMForSequenceClassification": "SequenceClassifierOutput",
        "XLMForMultipleChoice": "MultipleChoiceModelOutput",
        "XLMForTokenClassification": "TokenClassifierOutput",
        "XLMForQuestionAnsweringSimple": "QuestionAnsweringModelOutput",
        "XLMForQuestionAnswering": "XLMForQuestionAnsweringOutput",
    }
    from transformers import modeling_outputs
    from transformers.models.xlm import modeling_xlm

    name = names[architecture]
    theirs = getattr(modeling_outputs, name, None) or getattr(modeling_xlm, name)
    ours = {output_class.__name__: output_class for output_class in OUTPUT_CLASSES}[name]
    assert list(ours.field_names()) == list(theirs.__dataclass_fields__)


@EACH
def test_every_published_class_is_there(architecture: str) -> None:
    model_class = getattr(xlm_torch, architecture)
    assert MODEL_CLASSES[architecture] is model_class
    assert model_class.architecture == model_class.__name__ == architecture


def test_positional_arguments() -> None:
    model = XLMWithLMHeadModel(make_config()).eval()
    mask, langs = torch.ones_like(IDS), torch.zeros_like(IDS)
    given = (IDS, mask, langs, langs, langs + 1, mask.sum(-1), None, torch.ones(4), None, IDS)
    names = _arguments(XLMWithLMHeadModel)[1:11]
    assert torch.equal(model(*given).loss, model(**dict(zip(names, given, strict=True))).loss)


@EACH
def test_defaults_of_flags_come_from_the_configuration(architecture: str) -> None:
    config = make_config(num_labels=2, output_attentions=True, output_hidden_states=True)
    model = MODEL_CLASSES[architecture](config).eval()
    ids = IDS[:, None].repeat(1, 3, 1) if architecture == "XLMForMultipleChoice" else IDS
    arguments = {"input_ids": ids, "langs": torch.zeros_like(ids)}
    output = model(**arguments)
    assert len(output.hidden_states) == 4
    assert len(output.attentions) == 3
    silent = model(**arguments, output_attentions=False, output_hidden_states=False)
    assert silent.hidden_states is None
    assert silent.attentions is None
    model.config.return_dict = False
    assert isinstance(model(**arguments), tuple)
    assert not isinstance(model(**arguments, return_dict=True), tuple)


def test_masks_of_any_dtype_are_one() -> None:
    model = XLMModel(make_config()).eval()
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
    langs = torch.zeros_like(IDS)
    expected = model(IDS, attention_mask=mask, langs=langs)[0]
    for dtype in (torch.bool, torch.uint8, torch.int32, torch.float32, torch.float16):
        assert torch.equal(model(IDS, attention_mask=mask.to(dtype), langs=langs)[0], expected)
    narrow = model(IDS.int(), attention_mask=mask, langs=langs.int())[0]
    assert torch.equal(narrow, expected)


def test_arguments_are_left_as_they_are() -> None:
    model = XLMWithLMHeadModel(make_config()).train()
    arguments = {
        "inputs_embeds": torch.rand(2, 6, 12),
        "langs": torch.zeros_like(IDS),
        "attention_mask": torch.tensor([[1, 1, 0, 0, 0, 0]] * 2),
        "head_mask": torch.rand(4),
        "labels": IDS.clone(),
    }
    before = {name: tensor.clone() for name, tensor in arguments.items()}
    model(**arguments)
    assert all(torch.equal(arguments[name], before[name]) for name in before)


def test_initial_values_are_those_of_the_configuration() -> None:
    config = make_config(
        vocab_size=500, emb_dim=200, n_heads=4, init_std=0.1, embed_init_std=0.7,
        max_position_embeddings=300, n_layers=1,
    )  # fmt: skip
    torch.manual_seed(0)
    state = XLMModel(config).state_dict()
    for name, tensor in state.items():
        if name == "embeddings.weight":
            assert (tensor[config.pad_index] == 0).all()
        if "embeddings" in name:
            assert 0.6 < tensor.std() < 0.8
        elif name.endswith("bias"):
            assert (tensor == 0).all()
        elif "layer_norm" in name:
            assert (tensor == 1).all()
        else:
            assert 0.095 < tensor.std() < 0.105, name
    torch.manual_seed(0)
    again = XLMModel(config).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


IMPORT = """
import logging, random, warnings
import numpy
import torch

def settings():
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "precision": torch.get_float32_matmul_precision(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "attention": torch.backends.cuda.math_sdp_enabled(),
        "torch chance": torch.get_rng_state().tolist(),
        "numpy chance": str(numpy.random.get_state()),
        "chance": random.getstate(),
        "numpy errors": numpy.geterr(),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers)),
    }

before = settings()
import xlm_torch
changed = {name for name, value in settings().items() if value != before[name]}
assert not changed, changed
import sys
loaded = {"tensorflow", "keras", "transformers", "xlm_tf"} & set(sys.modules)
assert not loaded, loaded
"""


def test_importing_changes_no_global_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
