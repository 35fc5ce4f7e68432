"""What transformers' tools ask of a model: the same answers as transformers' own classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from tests.conftest import make_config
from xlm_core import ConfigError, InputError, XLMConfig, XLMWarning
from xlm_torch import (
    MODEL_CLASSES,
    KeyValueCache,
    XLMForSequenceClassification,
    XLMModel,
    XLMWithLMHeadModel,
)

OF_TRANSFORMERS = [name for name in MODEL_CLASSES if name != "XLMForConditionalGeneration"]


def _pair(name: str, **values: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = make_config(num_labels=2, **values)
    theirs = transformers.XLMConfig(**config.to_dict())
    return MODEL_CLASSES[name](config), getattr(transformers, name)(theirs)


@pytest.mark.parametrize("name", [name for name in OF_TRANSFORMERS if "MultipleChoice" not in name])
@pytest.mark.parametrize("tied", [True, False])
def test_counts_of_parameters_and_bytes(name: str, tied: bool) -> None:
    ours, theirs = _pair(name, tie_word_embeddings=tied)
    for only_trainable in (False, True):
        for exclude_embeddings in (False, True):
            options = {"only_trainable": only_trainable, "exclude_embeddings": exclude_embeddings}
            assert ours.num_parameters(**options) == theirs.num_parameters(**options)
    batch = {"input_ids": torch.ones(3, 5, dtype=torch.long)}
    assert ours.floating_point_ops(batch) == theirs.floating_point_ops(batch)
    assert ours.get_memory_footprint(return_buffers=False) == 4 * ours.num_parameters()
    assert ours.estimate_tokens({}) == 0


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_attributes_as_transformers(name: str) -> None:
    ours, theirs = MODEL_CLASSES[name], getattr(transformers, name)
    for attribute in (
        "main_input_name",
        "base_model_prefix",
        "supports_gradient_checkpointing",
        "is_parallelizable",
        "_keys_to_ignore_on_save",
        "_keep_in_fp32_modules",
        "_tied_weights_keys",
    ):
        expected = getattr(theirs, attribute)
        if attribute == "supports_gradient_checkpointing":
            expected = True  # which theirs lack
        assert getattr(ours, attribute) == expected, attribute
    assert ours.config_class is XLMConfig
    assert ours.can_generate() == (name == "XLMWithLMHeadModel")


def test_dummy_inputs_run() -> None:
    model = XLMModel(make_config(n_langs=1)).eval()
    assert model(**model.dummy_inputs).last_hidden_state.isfinite().all()
    assert model.name_or_path == ""


def test_gradients_flow_to_frozen_embeddings() -> None:
    model = XLMWithLMHeadModel(make_config(n_langs=1)).requires_grad_(False)
    ids = torch.full((1, 4), 8)
    assert not model(ids).logits.requires_grad
    model.enable_input_require_grads()
    model.enable_input_require_grads()
    assert model(ids).logits.requires_grad
    model.disable_input_require_grads()
    assert not model(ids).logits.requires_grad
    model.disable_input_require_grads()


def test_switches_of_attention_and_recomputation() -> None:
    model = XLMWithLMHeadModel(make_config(n_langs=1))
    model.set_attn_implementation("sdpa")
    with pytest.raises(ConfigError, match="'eager' or 'sdpa'"):
        model.set_attn_implementation("flash_attention_2")
    assert not model.is_gradient_checkpointing
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert model.is_gradient_checkpointing
    assert model.transformer.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_the_last_layer_by_its_negative_number() -> None:
    for name in ("XLMModel", "XLMForSequenceClassification"):
        ours, theirs = _pair(name)
        last = ours.config.n_layers - 1
        for model in (ours, theirs):
            model.prune_heads({-1: [0]})
            model.prune_heads({last: [1]})
        in_ours, in_theirs = ours.base_model.attentions, theirs.base_model.attentions
        assert [each.q_lin.out_features for each in in_ours] == [
            each.q_lin.out_features for each in in_theirs
        ]
        assert ours.config.pruned_heads == {last: [0, 1]}
    made = XLMForSequenceClassification(make_config(pruned_heads={-1: [0], last: [1]}))
    assert made.transformer.attentions[-1].n_heads == made.config.n_heads - 2
    with pytest.raises(ConfigError, match="outside"):
        made.prune_heads({-9: [0]})


def test_a_cache_of_another_batch() -> None:
    model = XLMModel(make_config(n_langs=1, causal=True)).eval()
    cache = KeyValueCache()
    model(torch.full((2, 3), 8), cache=cache)
    with pytest.raises(InputError, match="the cache holds 2 sentences and the call 3"):
        model(torch.full((3, 4), 8), cache=cache)
    assert model(torch.full((2, 4), 8), cache=cache).last_hidden_state.shape[:2] == (2, 1)


class _Noting(nn.Module):
    def __init__(self, inner: nn.Module, sizes: list[int]) -> None:
        super().__init__()
        self.inner, self.sizes = inner, sizes

    def forward(self, x: torch.Tensor) -> Any:
        self.sizes.append(x.shape[1])
        return self.inner(x)


def test_chunks_set_on_modules() -> None:
    model, ids = XLMModel(make_config(n_langs=1)).eval(), torch.full((2, 7), 8)
    expected, sizes = model(ids).last_hidden_state, []
    for feed_forward in model.ffns:
        feed_forward.chunk_size = 3
    activate = model.ffns[0].lin1
    model.ffns[0].lin1 = _Noting(activate, sizes)
    assert torch.allclose(model(ids).last_hidden_state, expected, atol=1e-6)
    assert sizes == [3, 3, 1]


def test_one_length_for_all_choices_is_not_used() -> None:
    model = MODEL_CLASSES["XLMForMultipleChoice"](make_config(n_langs=1, num_labels=1)).eval()
    ids = torch.full((2, 3, 5), 8)
    with pytest.warns(XLMWarning, match=r"\(batch, choices\)"):
        logits = model(ids, lengths=torch.tensor([5, 2])).logits
    assert torch.equal(logits, model(ids).logits)
