"""What Keras' callbacks have counted, in a checkpoint and back."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from xlm_core.errors import CheckpointError, ConfigError, XLMWarning
from xlm_core.objectives import Task
from xlm_tf.training import CheckpointCallback, EvaluationCallback
from xlm_tf.training.counters import count_on, counted

Stopping = keras.callbacks.EarlyStopping
TASK = Task("mlm", ("en",))


def three() -> list[Any]:
    """Two of a kind, which differ by nothing, and one that counts nothing."""
    made = [Stopping("loss", mode="min", patience=5), keras.callbacks.CSVLogger("x"), Stopping()]
    for each in (made[0], made[2]):
        each.set_model(SimpleNamespace(weights=[np.zeros((2, 3)), np.zeros(())]))
        each.on_train_begin()
    return made


def test_numbers_and_best_weights_go_on() -> None:
    before, after = three(), three()
    best = [np.arange(6.0).reshape(2, 3), np.asarray(7, np.uint32)]
    before[0].wait, before[0].best, before[0].best_weights = 2, np.float32(0.5), best
    before[0].best_epoch, before[2].wait = 4, 1
    numbers, tensors = counted(before)
    after[0].patience = 9  # which may change
    count_on(after, json.loads(json.dumps(numbers)), tensors, "run")
    assert (after[0].wait, after[0].best, after[0].best_epoch) == (2, 0.5, 4)
    assert (after[0].patience, after[2].wait, after[2].best) == (9, 1, None)
    for array, expected in zip(after[0].best_weights, best, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert after[2].best_weights is None


def test_what_else_keras_counts() -> None:
    """Averages that stand in the model's place, and updates since a file was saved."""
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    saving = keras.callbacks.ModelCheckpoint("x.keras", save_freq=1500)
    swap._ema_weights_in_model, saving._batches_seen_since_last_saving = True, 1000
    numbers, tensors = counted([swap, saving])
    others = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint("x.keras", save_freq=1500),
    ]
    count_on(others, json.loads(json.dumps(numbers)), tensors, "run")
    assert others[0]._ema_weights_in_model
    assert others[1]._batches_seen_since_last_saving == 1000


def test_what_does_not_go_together() -> None:
    callbacks = three()
    [name, _] = counted(callbacks)[0]
    for wrong in ({"wait": "2"}, {"patience": 2}, [2]):
        with pytest.raises(CheckpointError, match=r"run is damaged: .* EarlyStopping\(loss\)"):
            count_on(callbacks, {name: wrong}, {}, "run")
    _, tensors = counted([*callbacks[1:]])
    callbacks[0].best_weights = [np.zeros(5)]
    _, tensors = counted(callbacks)
    with pytest.raises(CheckpointError, match="the weights of EarlyStopping"):
        count_on(three(), {}, tensors, "run")
    with pytest.warns(XLMWarning, match="a run that EarlyStopping had ended"):
        count_on(callbacks, {name: {"stopped_epoch": 3}}, {}, "run")
    best = keras.callbacks.ModelCheckpoint(
        "x.keras", monitor="valid_mlm_ppl", mode="min", save_best_only=True
    )
    EvaluationCallback("valid", {}).stand_beside([best])
    EvaluationCallback("test", {}, every=2).stand_beside([best])
    with pytest.raises(ConfigError, match="there is one every 2 epochs alone"):
        EvaluationCallback("valid", {}, every=2).stand_beside([best])
    made: list[int] = []
    figures = EvaluationCallback("valid", {TASK: lambda: made.append(1) or []})
    figures.stand_beside([best, Stopping("valid_en_mlm_ppl", mode="min"), figures])
    assert made  # texts are looked at before an epoch is trained
    with pytest.raises(ConfigError, match=r"monitors 'valid_en_mlm_pll', .*Did you mean"):
        figures.stand_beside([Stopping("valid_en_mlm_pll", mode="min"), figures])
    rarely = EvaluationCallback("valid", {TASK: list}, every=5)
    best = keras.callbacks.ModelCheckpoint("x.keras", monitor="valid_mlm_ppl", save_best_only=True)
    rarely.stand_beside([figures, rarely, best])  # which is computed after each epoch
    own = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    figures.stand_beside([own, Stopping("valid_bleu", mode="max")])
    batches: Any = None
    checkpoint = CheckpointCallback("run", batches)
    checkpoint.stand_beside([*callbacks, checkpoint])
    with pytest.raises(ConfigError, match="CheckpointCallback stands before EarlyStopping"):
        checkpoint.stand_beside([callbacks[0], checkpoint, *callbacks[1:]])
