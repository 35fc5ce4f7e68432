"""Adam's moments of the original, on the parameters that they belong to, in both families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.original_checkpoints import golden, optimizer
from tests.support.training_corpora import MASKED_TASKS, small_batches, write_corpora
from xlm_core.containers.torch_files import write_torch
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_tf import TFXLMForConditionalGeneration, TFXLMWithLMHeadModel
from xlm_tf import training as in_tf
from xlm_tf.optimizers import OriginalAdam as TFOriginalAdam
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel
from xlm_torch import training as in_torch
from xlm_torch.optimizers import OriginalAdam

FORMS = {
    "mt_encoder_decoder": {"model_optimizer": ("encoder", "decoder")},
    "mt_encoder_decoder, early": {
        "encoder_optimizer": ("encoder",),
        "decoder_optimizer": ("decoder",),
    },
    "adaptive_softmax": {"model_optimizer": ("model",)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("corpora")
    write_corpora(made)
    return made


@pytest.mark.parametrize("form", FORMS)
def test_moments_are_those_of_their_parameters(folder: Path, tmp_path: Path, form: str) -> None:
    """Twice the weight and its square; both families go on with them alike."""
    path = tmp_path / "checkpoint.pth"
    content = golden(form.partition(",")[0])
    for name, modules in FORMS[form].items():
        content[name] = optimizer(content, modules, num_updates=50)
    write_torch(path, content, legacy=True)
    translates = "decoder" in content
    options: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0}
    rate = InverseSquareRoot(1e-3, 10)

    kind: Any = XLMForConditionalGeneration if translates else XLMWithLMHeadModel
    model = kind.from_pretrained(path, dtype=torch.float64, **options)
    batches = small_batches(folder, model.config, MASKED_TASKS[:1], bptt=4, max_len=4)
    run = in_torch.TrainingRun(model, batches, OriginalAdam(model.parameters()), learning_rate=rate)
    said = run.take_original_adam(path)
    assert "start afresh" not in said
    for name, parameter in model.named_parameters():
        state = run._inner_optimizer().state[parameter]
        torch.testing.assert_close(state["exp_avg"], 2 * parameter.detach(), rtol=0, atol=0)
        expected = parameter.detach().float() ** 2
        torch.testing.assert_close(state["exp_avg_sq"].float(), expected, rtol=0, atol=0, msg=name)

    kind = TFXLMForConditionalGeneration if translates else TFXLMWithLMHeadModel
    its = kind.from_pretrained(path, dtype="float64", **options)
    again = in_tf.TrainingRun(its, batches, TFOriginalAdam(1e-4), learning_rate=rate)
    assert again.take_original_adam(path) == said
    inner = again.whole.updates.inner_optimizer
    for variable in again.whole.updates.variables:
        place = inner._get_variable_index(variable)
        assert int(inner._counts[place]) > 0
        np.testing.assert_array_equal(inner._momentums[place].numpy(), 2 * variable.numpy())

    if form == "mt_encoder_decoder":
        [update] = run.updates(1)
        assert update.learning_rate == rate.at(50)
        list(again.updates(1))
        arrays = its._arrays()
        for name, tensor in model.state_dict().items():
            if name in arrays:
                np.testing.assert_allclose(arrays[name], tensor.numpy(), rtol=0, atol=1e-10)
