"""Step by step with a cache equals one pass over the whole sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from tests.conftest import make_config
from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.torch_reference import exact_float64, reference_model
from xlm_core import InputError
from xlm_torch import KeyValueCache, XLMModel, XLMWithLMHeadModel

LENGTH = 9
CACHES: dict[str, Callable[[], Any]] = {
    "KeyValueCache": KeyValueCache,
    "DynamicCache": DynamicCache,
    "EncoderDecoderCache": lambda: EncoderDecoderCache(DynamicCache(), DynamicCache()),
}
EACH_CACHE = pytest.mark.parametrize("make_cache", CACHES.values(), ids=CACHES.keys())


def _model(model_class: Any = XLMModel, **values: Any) -> Any:
    torch.manual_seed(0)
    config = make_config(
        causal=True,
        init_std=0.4,
        embed_init_std=1.0,
        tie_word_embeddings=False,
        **values,
    )
    model = model_class(config).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    return model


def _batch(*names: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    batch = {"input_ids": torch.randint(6, 53, (3, LENGTH), generator=generator)}
    mask = torch.ones(3, LENGTH, dtype=torch.long)
    if "right" in names:
        mask[1, 6:] = 0
        mask[2, 1:] = 0
    if "left" in names:
        mask[0, :4] = 0
    if mask.min() == 0:
        batch["attention_mask"] = mask
    batch["langs"] = torch.randint(5, (3, LENGTH), generator=generator)
    if "positions" in names:
        batch["position_ids"] = torch.randint(19, (3, LENGTH), generator=generator)
    if "types" in names:
        batch["token_type_ids"] = 3 + torch.randint(2, (3, LENGTH), generator=generator)
    return batch


def _up_to(batch: dict[str, Tensor], end: int) -> dict[str, Tensor]:
    return {name: tensor[:, :end] for name, tensor in batch.items()}


@EACH_CACHE
@pytest.mark.parametrize("names", [(), ("right",), ("left",), ("positions", "types", "left")])
@pytest.mark.parametrize("ends", [range(1, LENGTH + 1), (4, 5, 9)], ids=["single", "chunks"])
def test_step_by_step(make_cache: Any, names: tuple[str, ...], ends: Any) -> None:
    model, batch, cache = _model(), _batch(*names), make_cache()
    mask = batch.get("attention_mask", torch.ones(3, LENGTH))
    with torch.no_grad():
        whole = model(**batch, output_hidden_states=True, output_attentions=True)
        begin = 0
        for end in ends:
            step = model(
                **_up_to(batch, end), cache=cache, output_hidden_states=True, output_attentions=True
            )
            assert step.last_hidden_state.shape == (3, end - begin, 12)
            for mine, full in zip(step.hidden_states, whole.hidden_states, strict=True):
                assert_close_to_largest(mine, full[:, begin:end], 1e-12, scale=1.0)
            for mine, full in zip(step.attentions, whole.attentions, strict=True):
                queries = mask[:, None, begin:end, None]  # what padding attends to is not read
                assert_close_to_largest(
                    mine * queries, full[:, :, begin:end, :end] * queries, 1e-12, scale=1.0
                )
            begin = end
            assert cache.get_seq_length() == end


@EACH_CACHE
def test_logits_and_labels_of_the_new_positions(make_cache: Any) -> None:
    model, batch, cache = _model(XLMWithLMHeadModel), _batch("left"), make_cache()
    labels = batch["input_ids"].roll(-1, 1)
    with torch.no_grad():
        whole = model(**batch).logits
        model(**_up_to(batch, 5), cache=cache)
        step = model(**_up_to(batch, 8), cache=cache, labels=labels[:, 5:8])
    assert_close_to_largest(step.logits, whole[:, 5:8], 1e-12)
    expected = torch.nn.functional.cross_entropy(
        whole[:, 5:8].flatten(0, 1), labels[:, 5:8].flatten()
    )
    assert_close_to_largest(step.loss, expected, 1e-12)


@EACH_CACHE
def test_embeddings_are_sliced_too(make_cache: Any) -> None:
    model, batch, cache = _model(), _batch("left"), make_cache()
    batch["inputs_embeds"] = model.embeddings(batch.pop("input_ids"))
    with torch.no_grad():
        whole = model(**batch).last_hidden_state
        for begin, end in ((0, 3), (3, 4), (4, LENGTH)):
            step = model(**_up_to(batch, end), cache=cache).last_hidden_state
            assert_close_to_largest(step, whole[:, begin:end], 1e-12)


def test_the_same_steps_in_transformers() -> None:
    values = {"causal": True, "n_langs": 5}
    config = make_config(**values)
    ours = _model(XLMWithLMHeadModel)
    theirs = reference_model(
        {
            name: getattr(config, name)
            for name in ("vocab_size", "emb_dim", "n_layers", "n_heads", "n_langs", "causal")
        }
        | {"max_position_embeddings": 19, "tie_word_embeddings": False},
        "XLMWithLMHeadModel",
    ).double()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    batch, caches = _batch(), [CACHES["EncoderDecoderCache"]() for _ in range(2)]
    with torch.no_grad(), exact_float64():
        for end in (3, 4, LENGTH):
            actual = ours(**_up_to(batch, end), cache=caches[0]).logits
            expected = theirs(**_up_to(batch, end), cache=caches[1], return_dict=True).logits
            assert_close_to_largest(actual, expected, 1e-12)


def test_pruned_heads_with_a_cache() -> None:
    model, batch, cache = _model(), _batch("right"), KeyValueCache()
    model.prune_heads({0: [1], 1: [0, 2, 3]})
    with torch.no_grad():
        whole = model(**batch).last_hidden_state
        model(**_up_to(batch, 6), cache=cache)
        assert_close_to_largest(model(**batch, cache=cache).last_hidden_state, whole[:, 6:], 1e-12)


def test_update_appends() -> None:
    cache = KeyValueCache()
    assert cache.get_seq_length() == 0
    first, second = torch.rand(2, 4, 3, 5), torch.rand(2, 4, 1, 5)
    key, value = cache.update(first, 2 * first, 0)
    assert_equal(key, first)
    key, value = cache.update(second, 2 * second, 0)
    assert_equal(key, torch.cat((first, second), 2))
    assert_equal(value, 2 * key)
    assert cache.get_seq_length() == 4
    assert_equal(cache.update(second, second, 1)[0], second)


@EACH_CACHE
def test_refused_where_it_cannot_be_right(make_cache: Any) -> None:
    with pytest.raises(InputError, match=r"bidirectional model.*causal=True"):
        _model_bidirectional()(**_batch(), cache=make_cache())
    model, cache = _model(), make_cache()
    model(**_up_to(_batch(), 4), cache=cache)
    for end in (1, 4):
        with pytest.raises(InputError, match=f"cache holds 4 positions and the call {end}"):
            model(**_up_to(_batch(), end), cache=cache)
    for wrong in ({}, (), 3):
        with pytest.raises((InputError, AttributeError)):
            model(**_batch(), cache=wrong)


def _model_bidirectional() -> XLMModel:
    return XLMModel(make_config(causal=False)).double().eval()
