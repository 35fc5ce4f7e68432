"""Adam's state in training checkpoints of the original: each form that its code has saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.foreign_classes import pickle_as
from tests.support.original_checkpoints import golden, optimizer
from xlm_core.checkpoints import Moments, open_checkpoint, open_moments
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.torch_files import write_torch
from xlm_core.errors import CheckpointError

PAIR = "mt_encoder_decoder"


def moments_of(content: dict[str, Any], path: Path) -> Moments:
    """Those of a file with this content, each of which belongs to its parameter."""
    write_torch(path, content, legacy=True)
    found, weights = open_moments(path), open_checkpoint(path).tensors
    assert found is not None
    for name in found.steps:
        np.testing.assert_array_equal(found.first[name].read(), 2 * weights[name].read(), name)
        np.testing.assert_array_equal(found.second[name].read(), weights[name].read() ** 2, name)
    return found


def test_weights_tell_parameters_apart() -> None:
    content = golden(PAIR)
    seen = [
        tensor.read().tobytes()
        for module in ("encoder", "decoder")
        for name, tensor in content[module].items()
        if not name.endswith("pred_layer.proj.weight")
    ]
    assert len({*seen}) == len(seen) == 38 + 58


@pytest.mark.parametrize("address", [0, 139_872_301_223_344])
def test_one_optimizer_of_both_parts(tmp_path: Path, address: int) -> None:
    content = golden(PAIR)
    both = optimizer(content, ("encoder", "decoder"), numbers=address, num_updates=70)
    found = moments_of({**content, "model_optimizer": both}, tmp_path / "checkpoint.pth")
    assert found.updates == 70
    assert [*found.steps.values()] == [*range(1, 97)]
    assert found.steps["encoder.position_embeddings.weight"] == 1
    # What the decoder alone has lies behind all its other layers.
    place = list(content["decoder"]).index("encoder_attn.1.k_lin.bias")
    assert found.steps["decoder.encoder_attn.1.k_lin.bias"] == 38 + place + 1
    assert found.steps["decoder.pred_layer.proj.bias"] == 96


@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_optimizer_of_each_part(tmp_path: Path, prefix: str) -> None:
    """The earliest form; parts that several GPUs shared have a prefix."""
    content = golden(PAIR)
    own = {
        "encoder_optimizer": optimizer(content, ("encoder",), num_updates=90),
        "decoder_optimizer": optimizer(content, ("decoder",), num_updates=40),
    }
    for part in ("encoder", "decoder"):
        content[part] = {prefix + name: tensor for name, tensor in content[part].items()}
    found = moments_of({**content, **own}, tmp_path / "checkpoint.pth")
    # Each counted its own: the learning rate goes on behind the larger number.
    assert found.updates == 90
    assert sorted(found.steps.values()) == sorted([*range(1, 39), *range(1, 59)])
    assert found.steps["decoder.position_embeddings.weight"] == 1


class DynamicLossScaler:
    """As apex's: attributes alone."""

    def __init__(self) -> None:
        self.cur_scale, self.cur_iter, self.last_overflow_iter = 2.0**32, 7, -1
        self.scale_factor, self.scale_window = 2.0, 1000


def test_an_optimizer_within_that_of_apex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Early runs in fp16: weights in half precision, an object among the values."""
    pickle_as(monkeypatch, DynamicLossScaler, "apex.fp16_utils.loss_scaler")
    content = golden(PAIR)
    for part in ("encoder", "decoder"):
        own = optimizer(content, (part,), num_updates=7)
        content[f"{part}_optimizer"] = {
            "loss_scaler": DynamicLossScaler(),
            "dynamic_loss_scale": True,
            "overflow": False,
            "first_closure_call_this_step": True,
            "optimizer_state_dict": own,
            "fp32_from_fp16": [[*content[part].values()]],
        }
    path = tmp_path / "checkpoint.pth"
    torch.save(in_torch(content), path)
    found, weights = open_moments(path), open_checkpoint(path).tensors
    assert found is not None
    assert (found.updates, len(found.steps)) == (7, 38 + 58)
    for name in found.steps:
        np.testing.assert_array_equal(found.second[name].read(), weights[name].read() ** 2, name)


def in_torch(value: Any) -> Any:
    """The same with tensors of PyTorch."""
    match value:
        case LazyTensor():
            return torch.from_numpy(value.read())
        case dict():
            return {name: in_torch(each) for name, each in value.items()}
        case list():
            return [in_torch(each) for each in value]
    return value


@pytest.mark.parametrize("known", [False, True])
def test_fixed_positions(tmp_path: Path, known: bool) -> None:
    """The earliest optimizers know them too, though they have no gradient."""
    content = golden("sinusoidal_relu")
    fixed = "position_embeddings.weight"
    own = optimizer(content, ("model",), without="-" if known else fixed, num_updates=7)
    if known:
        del own["state"][0]
    found = moments_of({**content, "model_optimizer": own}, tmp_path / "checkpoint.pth")
    assert len(found.steps) == len(content["model"]) - 2
    assert not any(name.endswith(fixed) for name in found.steps)


@pytest.mark.parametrize("name", ["untied_output", "adaptive_softmax", "no_lang_emb"])
def test_other_outputs(tmp_path: Path, name: str) -> None:
    content = golden(name)
    own = optimizer(content, ("model",))
    if name == "untied_output":  # which has a weight of its own, before its bias
        weight = content["model"]["pred_layer.proj.weight"]
        order = [key for key in content["model"] if key.startswith("pred_layer")]
        assert order == ["pred_layer.proj.weight", "pred_layer.proj.bias"]
        [group] = own["param_groups"]
        last = group["params"].pop()
        group["params"] += [last + 1, last]
        own["state"][last + 1] = {
            "step": 99,
            "exp_avg": LazyTensor.of(2 * weight.read()),
            "exp_avg_sq": LazyTensor.of(weight.read() ** 2),
        }
    found = moments_of({**content, "model_optimizer": own}, tmp_path / "checkpoint.pth")
    assert len(found.steps) == len(own["state"])
    assert found.updates is None


def test_optimizers_that_are_not_adam_have_no_moments(tmp_path: Path) -> None:
    """--optimizer "adagrad,lr=0.1": weights are to be had all the same."""
    content = golden(PAIR)
    both = optimizer(content, ("encoder", "decoder"))
    for state in both["state"].values():
        state["sum"] = state.pop("exp_avg")
        del state["exp_avg_sq"]
    found = moments_of({**content, "model_optimizer": both}, tmp_path / "checkpoint.pth")
    assert not found.steps


def test_what_cannot_be_assigned_is_refused(tmp_path: Path) -> None:
    content = golden(PAIR)
    both = optimizer(content, ("encoder", "decoder"))
    [group] = both["param_groups"]
    two = [{**group, "params": group["params"][half::2]} for half in (0, 1)]
    split = {"state": both["state"], "param_groups": two}
    endless = optimizer(content, ("encoder", "decoder"))
    endless["state"][0]["step"] = float("inf")
    for wrong, words in (
        (split, "2 groups of parameters, expected 1"),
        (endless, "damaged.*infinity"),
        (optimizer(content, ("encoder",)), "38 parameters, expected 96"),
        (optimizer(content, ("decoder", "encoder")), r"a moment of shape"),
    ):
        with pytest.raises(CheckpointError, match=rf"{words}.*weights alone"):
            moments_of({**content, "model_optimizer": wrong}, tmp_path / "checkpoint.pth")
