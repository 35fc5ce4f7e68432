"""A training run in Keras: its updates, `fit`, and that both go on exactly."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.tf_training_runs import DEVICE_TASKS, small_run, weights
from tests.support.training_corpora import (
    ALL_TASKS,
    MASKED_TASKS,
    small_batches,
    small_config,
    write_corpora,
)
from xlm_core.checkpoints.moments import Moments
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.corpus import Corpus
from xlm_core.errors import CheckpointError, ConfigError, InputError, TrainingError, XLMWarning
from xlm_core.objectives import EvaluationBatches, ObjectiveSettings, tasks_of
from xlm_core.training import moments as taking
from xlm_core.training.config import OptimizerSettings, TrainingConfig
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_tf import TFXLMForConditionalGeneration, TFXLMModel, TFXLMWithLMHeadModel
from xlm_tf.optimizers import OriginalAdam
from xlm_tf.training import (
    CheckpointCallback,
    EvaluationCallback,
    Schedule,
    TFWithObjectives,
    TrainingRun,
    configured,
    configured_run,
    dataset_of,
    making_models,
    model_dtype,
    optimizer_of,
)
from xlm_tf.training.reading import check_passes

MLM = MASKED_TASKS[:1]
ONE_LAYER: dict[str, Any] = {"n_layers": 1}
WITH_DROPOUT: dict[str, Any] = {"n_layers": 1, "dropout": 0.1, "attention_dropout": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("training")
    write_corpora(made)
    return made


@pytest.fixture(scope="module")
def fitted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`fit` over four updates with dropout, twice two with a checkpoint between."""
    place = tmp_path_factory.mktemp("fitted")
    evaluation = EvaluationBatches(small_config(), ObjectiveSettings(batch_size=4, bptt=8))
    found: dict[str, Any] = {}

    def fit(checkpoint: CheckpointCallback, epochs: int) -> TFWithObjectives:
        run = small_run(folder, tasks=MLM, config=WITH_DROPOUT)
        first = checkpoint.resume(run.whole)
        evaluate = EvaluationCallback(
            "valid",
            {
                MLM[0]: lambda: evaluation.batches(
                    MLM[0], corpora={"en": run.batches._streams[MLM[0]].corpus}
                )
            },
        )
        # Of which no epoch is better than the first.
        stopping = keras.callbacks.EarlyStopping("loss", mode="min", min_delta=9.0, patience=3)
        plateau = keras.callbacks.ReduceLROnPlateau("loss", mode="min", min_delta=9.0, patience=3)
        history = run.whole.fit(
            dataset_of(run.batches, first),
            steps_per_epoch=2,
            epochs=epochs,
            initial_epoch=first // 2,
            callbacks=[evaluate, stopping, plateau, checkpoint],
            verbose=0,
        )
        found["history"] = history.history
        found[f"counted by {checkpoint.folder.name}"] = [
            (stopping.wait, stopping.best, stopping.best_epoch),
            (plateau.wait, plateau.best),
        ]
        found["update"] = checkpoint.update
        return run.whole

    batches = small_run(folder, tasks=MLM, config=ONE_LAYER).batches
    whole = fit(CheckpointCallback(place / "whole", batches), 2)
    fit(CheckpointCallback(place / "halves", batches), 1)
    halves = fit(CheckpointCallback(place / "halves", batches), 2)
    return {**found, "whole": whole, "halves": halves}


def test_a_run_goes_on_exactly(folder: Path, tmp_path: Path) -> None:
    """With dropout, two objectives, and an epoch of other steps behind the checkpoint."""
    run = small_run(folder, tasks=DEVICE_TASKS, config=WITH_DROPOUT)
    list(run.updates(2))
    run.save(tmp_path / "checkpoint", {"stopping": [1, 2]})
    expected = list(run.updates(5))
    again = small_run(folder, tasks=DEVICE_TASKS, config=WITH_DROPOUT)
    assert again.resume(tmp_path / "checkpoint") == {"stopping": [1, 2]}
    assert (again.update, again.tokens) == (2, run.tokens - sum(x.tokens for x in expected))
    assert list(again.updates(5)) == expected
    for name, array in weights(run).items():
        assert np.array_equal(weights(again)[name], array), name
    opened = TFXLMForConditionalGeneration.from_pretrained(
        tmp_path / "checkpoint" / "model", dtype="float64"
    )
    assert opened.config.n_layers == 1


def test_fit_makes_the_same_updates(folder: Path, fitted: dict[str, Any]) -> None:
    run = small_run(folder, tasks=MLM, config=WITH_DROPOUT)
    updates = list(run.updates(4))
    for one, two in zip(fitted["whole"].variables, run.whole.variables, strict=True):
        assert np.array_equal(one.numpy(), two.numpy())
    losses = np.array([sum(x.losses.values()) / len(x.losses) for x in updates])
    assert np.isfinite(losses).all()
    assert fitted["history"]["loss"][-1] < 6


def test_fit_goes_on_exactly(fitted: dict[str, Any]) -> None:
    assert fitted["update"] == 4
    for one, two in zip(fitted["whole"].variables, fitted["halves"].variables, strict=True):
        assert np.array_equal(one.numpy(), two.numpy())


def test_callbacks_of_keras_go_on_counting(fitted: dict[str, Any]) -> None:
    expected = fitted["counted by whole"]
    assert [wait for wait, *_ in expected] == [1, 1]
    assert fitted["counted by halves"] == expected


def test_a_fit_that_had_ended_restores_the_best_weights_again(folder: Path, tmp_path: Path) -> None:
    """The script of docs/training.md once more: no epoch is left, and the best are not lost."""
    for again in (False, True):
        run = small_run(folder, tasks=MLM, config=ONE_LAYER)
        checkpoint = CheckpointCallback(tmp_path / "run", run.batches)
        first = checkpoint.resume(run.whole)
        assert first == 2 * again
        # Of which no epoch is better than the first.
        stopping = keras.callbacks.EarlyStopping(
            "loss", mode="min", min_delta=9.0, patience=3, restore_best_weights=True
        )
        run.whole.fit(
            dataset_of(run.batches, first),
            steps_per_epoch=1,
            epochs=2,
            initial_epoch=first,
            callbacks=[stopping, checkpoint],
            verbose=0,
        )
        if not again:
            best = weights(run)
    for name, array in weights(run).items():
        np.testing.assert_array_equal(array, best[name], name)


@pytest.mark.parametrize("change", ["resized", "frozen"])
@pytest.mark.parametrize("by_fit", [False, True])
def test_variables_that_are_others_than_before_are_refused(
    folder: Path, change: str, by_fit: bool
) -> None:
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    model = run.whole.model
    if change == "resized":
        model.resize_token_embeddings(model.config.vocab_size + 1)
    else:
        model.transformer.trainable = False
    data = dataset_of(run.batches)
    fit = functools.partial(run.whole.fit, data, steps_per_epoch=1, verbose=0)
    with pytest.raises(ConfigError, match=r"to be trained are others than before.*Compile it"):
        fit() if by_fit else list(run.updates(1))


def test_a_checkpoint_counts_the_updates_that_were_made(folder: Path, tmp_path: Path) -> None:
    """Each `fit` begins its dataset anew: a second one has to be given where the first ended."""
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    checkpoint = CheckpointCallback(tmp_path / "run", run.batches)
    options: dict[str, Any] = {"steps_per_epoch": 2, "callbacks": [checkpoint], "verbose": 0}
    data = dataset_of(run.batches)
    run.whole.fit(data, **options)
    before = weights(run)
    with pytest.raises(ConfigError, match=r"batches of update 0, and 2 updates were made"):
        run.whole.fit(data, **options, epochs=2, initial_epoch=1)
    for name, array in weights(run).items():
        np.testing.assert_array_equal(array, before[name], name)
    run.whole.fit(dataset_of(run.batches, checkpoint.update), **options, epochs=2, initial_epoch=1)
    with pytest.raises(ConfigError, match=r"has 4 parts, and CheckpointCallback was told of 2"):
        run.whole.fit(dataset_of(run.batches, checkpoint.update, accumulate=2), **options)
    with pytest.raises(ConfigError, match=r"call predict of its model"):
        run.whole.predict(data, steps=1)
    assert checkpoint.update == 4


def test_an_evaluation_that_is_nan_ends_fit(folder: Path) -> None:
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    evaluation = EvaluationBatches(small_config(), ObjectiveSettings(batch_size=4, bptt=8))
    corpora = {"en": run.batches._streams[MLM[0]].corpus}
    figures = {MLM[0]: lambda: evaluation.batches(MLM[0], corpora=corpora)}

    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.model.transformer.embeddings.variables[0].assign_add(
                np.full(self.model.model.transformer.embeddings.variables[0].shape, np.nan)
            )

    with pytest.raises(TrainingError, match="MLM-en on valid is nan, evaluated after 1 updates"):
        run.whole.fit(
            dataset_of(run.batches),
            steps_per_epoch=1,
            callbacks=[Break(), EvaluationCallback("valid", figures)],
            verbose=0,
        )


def test_words_are_counted_where_that_is_given(folder: Path) -> None:
    run = small_run(folder, tasks=tasks_of("clm", ["en"]), config=ONE_LAYER)
    [task] = run.batches.tasks
    batches = {task: lambda: run.batches.global_batch(0)}
    logs: list[dict[str, Any]] = [{}, {}]
    for counting, found in zip((None, lambda batch: 2), logs, strict=True):
        callback = EvaluationCallback("valid", batches, words_in=counting)
        callback.set_model(run.whole)
        callback.on_epoch_end(0, found)
    assert "valid_en_clm_word_ppl" not in logs[0]
    assert logs[1]["valid_en_clm_word_ppl"] > logs[1]["valid_en_clm_ppl"] > 1


def test_figures_are_in_the_history(fitted: dict[str, Any]) -> None:
    figures = {"valid_en_mlm_ppl", "valid_en_mlm_acc", "valid_mlm_ppl", "valid_mlm_acc"}
    assert figures <= fitted["history"].keys()
    assert all(0 < x < 100 for x in fitted["history"]["valid_en_mlm_ppl"])


def test_the_page_s_examples(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    section = page[page.index("## Keras") :].partition("\n## ")[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    write_corpora(tmp_path / "train", 1600)

    def texts(of: Path) -> dict[str, Any]:
        en, fr = (Corpus.open(of / name) for name in ("en", "fr"))
        return {"corpora": {"en": en, "fr": fr}, "pairs": {("en", "fr"): (en, fr)}}

    names: dict[str, Any] = {
        "config": small_config(n_layers=1, max_position_embeddings=256),
        "valid": texts(folder),
        "strategy": tf.distribute.get_strategy(),
        **texts(tmp_path / "train"),
    }
    for long, short in (
        ("1000", "2"),
        ("epochs=100", "epochs=1"),
        ("updates(100)", "updates(1)"),
    ):
        code = code.replace(long, short)
    exec(code, names)
    assert (tmp_path / "run" / "model" / "config.json").exists()


def test_a_loss_that_is_nan_changes_nothing(folder: Path, tmp_path: Path) -> None:
    run = small_run(folder, tasks=MASKED_TASKS, config=ONE_LAYER)
    list(run.updates(1))
    run.save(tmp_path / "checkpoint")
    bias = run.model.pred_layer.proj.bias
    before = bias.numpy()
    bias.assign(np.full(before.shape, np.nan))
    kept = weights(run)
    with pytest.raises(TrainingError, match=r"nan in update 2, at a learning rate of 0\.002"):
        list(run.updates(2))
    for name, array in weights(run).items():
        assert np.array_equal(array, kept[name], equal_nan=True)
    run.resume(tmp_path / "checkpoint")
    assert np.array_equal(run.model.pred_layer.proj.bias.numpy(), before)
    assert [update.number for update in run.updates(2)] == [1]


def test_a_checkpoint_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    run = small_run(folder, tasks=MASKED_TASKS, config=ONE_LAYER)
    run.save(tmp_path / "checkpoint")
    for options, expected in (
        ({"accumulate": 2}, r"accumulate 1 \(here 2\)"),
        ({"optimizer": keras.optimizers.SGD}, "another optimizer"),
        ({"config": {"n_layers": 2}}, "optimizer|model"),
    ):
        arguments: Any = {"tasks": MASKED_TASKS, "config": ONE_LAYER, **options}
        other = small_run(folder, **arguments)
        with pytest.raises(CheckpointError, match=expected):
            other.resume(tmp_path / "checkpoint")
        assert other.update == 0
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run.resume(tmp_path / "absent")


def test_another_text_is_refused(folder: Path, tmp_path: Path) -> None:
    """Its batches would go on as if they were those of the run."""
    write_corpora(tmp_path / "other", 50)
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    run.save(tmp_path / "checkpoint")
    other = small_run(tmp_path / "other", tasks=MLM, config=ONE_LAYER)
    with pytest.raises(CheckpointError, match=r"texts.MLM-en .*60 sentences.*here .*50 sentences"):
        CheckpointCallback(tmp_path / "checkpoint", other.batches).resume(other.whole)


def test_a_run_goes_to_another_update(folder: Path) -> None:
    run = small_run(folder, tasks=MLM, config=ONE_LAYER, accumulate=2)
    list(run.updates(1))
    run.go_to(5)
    [made] = run.updates(6)
    batches = [batch for step in (10, 11) for batch in run.batches.global_batch(step)]
    assert (made.number, made.tokens) == (5, sum(batch.tokens for batch in batches))
    assert made.predicted == sum(batch.predicted for batch in batches)


def test_batches_for_another_model_are_refused(folder: Path) -> None:
    """By `fit` before weights change, and by a run at once."""
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    before = weights(run)
    for changes, words in (
        ({"lang2id": {"en": 1, "fr": 0}}, r"lang2id \{'en': 1\} \(the model's: \{'en': 0\}\)"),
        ({"n_langs": 1}, "several languages False"),
        ({"pad_index": 3}, "pad_index 3"),
        ({"vocab_size": 50}, r"vocab_size 50 \(the model's: 40\)"),
        ({"max_position_embeddings": 128}, "max_position_embeddings 128"),
    ):
        other = small_batches(folder, small_config(**ONE_LAYER, **changes), MLM)
        with pytest.raises(ConfigError, match="made for another config"):
            run.whole.fit(dataset_of(other), steps_per_epoch=1, verbose=0)
        with pytest.raises(ConfigError, match=words):
            TrainingRun(run.model, other, OriginalAdam(1e-3))
    for name, array in weights(run).items():
        np.testing.assert_array_equal(array, before[name], name)
    larger = small_config(**ONE_LAYER, vocab_size=50, max_position_embeddings=128)
    TrainingRun(TFXLMWithLMHeadModel(larger), run.batches, OriginalAdam(1e-3))
    nameless = TFXLMWithLMHeadModel(small_config(**ONE_LAYER, lang2id=None))
    other = TrainingRun(nameless, run.batches, OriginalAdam(1e-3))
    other.whole.fit(dataset_of(run.batches), steps_per_epoch=1, verbose=0)
    for causal in (True, False):
        model = TFXLMWithLMHeadModel(small_config(**ONE_LAYER, causal=causal))
        with pytest.raises(ConfigError, match=f"and this one has causal={causal}"):
            TFWithObjectives(model, MLM if causal else tasks_of("clm", ["en"]))


def test_other_hyperparameters_are_refused(folder: Path, tmp_path: Path) -> None:
    """Those in force are the checkpoint's: another number would be given in vain."""
    run = small_run(folder, tasks=MLM, config=ONE_LAYER, learning_rate=None)
    run.optimizer.learning_rate = 5e-4  # by a callback: what was given stands in the checkpoint
    run.save(tmp_path / "saved")
    made = functools.partial(small_run, folder, tasks=MLM, config=ONE_LAYER, learning_rate=None)
    for options, words in (
        ({"optimizer": lambda _: OriginalAdam(1e-2)}, r"hyperparameters\.learning_rate 0\.001"),
        ({"optimizer": lambda x: OriginalAdam(x, beta_2=0.98)}, r"beta_2 0\.999 \(here 0\.98\)"),
        ({"learning_rate": InverseSquareRoot(1e-2, 5)}, "learning_rate None"),
        ({"clip_grad_norm": 0.5}, r"clip_grad_norm 1\.0 \(here 0\.5\)"),
    ):
        other = made(**options)
        with pytest.raises(CheckpointError, match=words):
            other.resume(tmp_path / "saved")
        if "learning_rate" not in options:
            with pytest.raises(CheckpointError, match=words):
                CheckpointCallback(tmp_path / "saved", run.batches).resume(other.whole)
    again = made()
    again.resume(tmp_path / "saved")
    assert float(again.optimizer.learning_rate) == pytest.approx(5e-4)


def test_a_checkpoint_is_not_replaced_unasked(folder: Path, tmp_path: Path) -> None:
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    options: dict[str, Any] = {"steps_per_epoch": 1, "verbose": 0}
    checkpoint = CheckpointCallback(tmp_path / "run", run.batches)
    run.whole.fit(dataset_of(run.batches), **options, callbacks=[checkpoint])
    forgotten = CheckpointCallback(tmp_path / "run", run.batches)
    with pytest.raises(ConfigError, match=r"holds a checkpoint.*checkpoint\.resume\(model\)"):
        run.whole.fit(dataset_of(run.batches), **options, callbacks=[forgotten])
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(ConfigError, match="BackupAndRestore puts back weights of another update"):
        run.whole.fit(dataset_of(run.batches, 1), **options, callbacks=[backup, checkpoint])


@pytest.mark.parametrize("when", ["before", "behind"])
def test_ctrl_c_around_an_update_counts_what_was_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Python raises it behind the graph that changes the weights, before anything counts."""
    fitted = small_run(folder, tasks=MLM, config=ONE_LAYER)
    made = small_run(folder, tasks=MLM, config=ONE_LAYER)
    checkpoint = CheckpointCallback(tmp_path / "run", fitted.batches)
    options: dict[str, Any] = {"verbose": 0, "callbacks": [checkpoint]}
    fitted.whole.fit(dataset_of(fitted.batches), steps_per_epoch=1, **options)
    list(made.updates(1))
    for run in (fitted, made):
        updates = run.whole.updates
        apply = updates._apply

        def interrupted(*arguments: Any, apply: Any = apply) -> None:
            if when == "behind":
                apply(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(updates, "_apply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.whole.fit(dataset_of(fitted.batches, 1), steps_per_epoch=3, **options)
    with pytest.raises(KeyboardInterrupt):
        list(made.updates(4))
    monkeypatch.undo()
    assert checkpoint.update == made.update == (2 if when == "behind" else 1)
    rest = 4 - checkpoint.update
    data = dataset_of(fitted.batches, checkpoint.update)
    fitted.whole.fit(data, steps_per_epoch=rest, **options)
    list(made.updates(4))
    expected = small_run(folder, tasks=MLM, config=ONE_LAYER)
    list(expected.updates(4))
    assert checkpoint.update == 4
    assert made.tokens == expected.tokens == fitted.whole.updates.tokens
    for name, array in weights(expected).items():
        np.testing.assert_array_equal(weights(fitted)[name], array, name)
        np.testing.assert_array_equal(weights(made)[name], array, name)


def test_an_update_that_was_interrupted_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its own batches, not those that were read ahead."""
    expected = list(small_run(folder, tasks=MLM, config=ONE_LAYER).updates(3))
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    list(run.updates(1))

    def interrupted(element: Any) -> Any:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(run.whole.updates, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run.updates(3))
    assert run.update == 1
    assert list(run.updates(3)) == expected[1:]


def test_updates_without_a_label(folder: Path) -> None:
    """Small batches may have no word to predict: `fit` goes on, and says no loss until then."""
    few = {"batch_size": 1, "bptt": 3, "parts": 1}
    run = small_run(folder, tasks=MLM, config=ONE_LAYER, settings=few)
    predicted = [run.batches.part(step, 0).predicted for step in range(6)]
    assert predicted[:2] == [0, 0]
    assert any(predicted)
    history = run.whole.fit(dataset_of(run.batches), steps_per_epoch=2, verbose=0)
    assert history.history == {}
    history = run.whole.fit(dataset_of(run.batches, 2), steps_per_epoch=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_keras_saves_and_opens_it(folder: Path, tmp_path: Path) -> None:
    """With how it was compiled and the optimizer's state, as ModelCheckpoint writes it."""
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    run.whole.fit(dataset_of(run.batches), steps_per_epoch=1, verbose=0, callbacks=[saving])
    opened = keras.models.load_model(tmp_path / "model.keras")
    assert opened.updates.clip_grad_norm == 1.0
    for each in (run.whole, opened):
        each.fit(dataset_of(run.batches, 1), steps_per_epoch=1, verbose=0)
    for name, array in weights(run).items():
        assert np.array_equal(opened.model._arrays()[name], array), name


def test_a_factor_of_the_loss_changes_nothing(folder: Path) -> None:
    """Keras divides gradients by it again."""
    found = []
    for factor in (None, 1024.0):
        optimizer = functools.partial(keras.optimizers.Adam, loss_scale_factor=factor)
        run = small_run(folder, tasks=MLM, config=ONE_LAYER, optimizer=optimizer)
        (update,) = run.updates(1)
        found.append((update.gradient_norm, weights(run)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    for name, array in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], array, rtol=0, atol=1e-12)


def test_gradients_that_are_never_finite_end_a_run(folder: Path) -> None:
    """A scale of the loss that has halved so often says so."""

    def scaling(rate: float) -> keras.optimizers.Optimizer:
        return keras.optimizers.LossScaleOptimizer(OriginalAdam(rate))

    run = small_run(folder, tasks=MLM, config=ONE_LAYER, optimizer=scaling)
    run.optimizer.dynamic_scale.assign(2.0**-21)
    with pytest.raises(TrainingError, match="not finite, whatever the loss's scale"):
        list(run.updates(1))


def test_half_precision(folder: Path) -> None:
    """Weights stay in float32; float16 needs a GPU."""
    run = small_run(folder, tasks=MASKED_TASKS[:1], config=ONE_LAYER, dtype="mixed_bfloat16")
    (update,) = run.updates(1)
    assert update.losses["MLM-en"] == pytest.approx(np.log(40), abs=0.5)
    assert {x.dtype for x in run.model.trainable_variables} == {"float32"}
    if not tf.config.list_logical_devices("GPU"):
        with pytest.raises(ConfigError, match="float16 trains on GPUs alone"):
            small_run(folder, tasks=MASKED_TASKS, config=ONE_LAYER, dtype="mixed_float16")


@pytest.mark.parametrize("steps", [0, -1, 1e3, None])
def test_epochs_have_a_number_of_updates(folder: Path, steps: Any) -> None:
    """Keras takes 0 for no end, and batches have none."""
    run = small_run(folder, tasks=MLM, config=ONE_LAYER)
    with pytest.raises(ConfigError, match="steps_per_epoch"):
        run.whole.fit(dataset_of(run.batches), steps_per_epoch=steps, verbose=0)


def test_averages_of_other_variables_are_refused(folder: Path) -> None:
    """At its end `fit` goes by their places."""
    whole = small_run(folder, tasks=MLM, config=ONE_LAYER).whole
    optimizer = OriginalAdam(1e-3, use_ema=True)
    whole.compile(optimizer)
    whole.model.transformer.attentions[0].trainable = False
    with pytest.raises(ConfigError, match="averages"):
        whole.compile(optimizer)


def test_the_learning_rate_that_was_given_is_told(folder: Path) -> None:
    """Keras keeps it in float32, and `OriginalAdam` computes with it as it is."""
    run = small_run(folder, tasks=MLM, config=ONE_LAYER, learning_rate=None)
    assert next(run.updates()).learning_rate == 1e-3
    run.optimizer.learning_rate = 0.5  # by a callback
    assert next(run.updates()).learning_rate == 0.5


def test_optimizers_for_parts_are_refused(folder: Path) -> None:
    """Those of Keras would sum over devices once more, and want all gradients at every update."""
    whole = small_run(folder, tasks=MLM, config=ONE_LAYER).whole
    optimizers = keras.optimizers
    parts = optimizers.MultiOptimizer(
        optimizers.OptimizerMap(optimizers.SGD(0.1), {"transformer": optimizers.Adam(0.1)})
    )
    with pytest.raises(ConfigError, match=r"the optimizer is a MultiOptimizer.*give one optimizer"):
        whole.compile(parts)


def test_what_cannot_be_is_refused(folder: Path) -> None:
    run = small_run(folder, tasks=MASKED_TASKS, config=ONE_LAYER)
    model, whole = run.model, run.whole
    with pytest.raises(ConfigError, match="MT-fr-en cannot train"):
        TFWithObjectives(model, ALL_TASKS)
    with pytest.raises(ConfigError, match="expected a language model"):
        TFWithObjectives(TFXLMModel(small_config()), MASKED_TASKS)
    with pytest.raises(ConfigError, match="gradient_accumulation_steps"):
        whole.compile(OriginalAdam(1e-3, gradient_accumulation_steps=2))
    with pytest.raises(ConfigError, match="clip_grad_norm is -1"):
        whole.compile(OriginalAdam(1e-3), clip_grad_norm=-1.0)
    with pytest.raises(ConfigError, match="clip_grad_norm is None"):
        whole.compile(OriginalAdam(1e-3), clip_grad_norm=None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"rate is 0\.001: expected an InverseSquareRoot"):
        small_run(folder, tasks=MLM, config=ONE_LAYER, learning_rate=1e-3)
    with pytest.raises(ConfigError, match="clip_grad_norm is nan"):
        whole.compile(OriginalAdam(1e-3), clip_grad_norm=float("nan"))
    for option in ({"jit_compile": True}, {"loss": "mse"}, {"metrics": ["accuracy"]}):
        with pytest.raises(ConfigError, match=f"compile got {next(iter(option))}="):
            whole.compile(OriginalAdam(1e-3), **option)
    whole.compile(OriginalAdam(1e-3), loss=None, jit_compile=False)
    model.trainable = False
    with pytest.raises(ConfigError, match="nothing to train"):
        whole.compile(OriginalAdam(1e-3))
    model.trainable = True
    with pytest.raises(ConfigError, match=r"half precision \(bfloat16\).*mixed_bfloat16"):
        small_run(folder, tasks=MASKED_TASKS, config=ONE_LAYER, dtype="bfloat16")
    whole.compile(OriginalAdam(1e-3))
    with pytest.raises(InputError, match="expected what dataset_of"):
        whole.fit(tf.data.Dataset.from_tensors({"input_ids": [[1]]}))
    with pytest.raises(ConfigError, match="train_on_batch does not serve tasks"):
        whole.train_on_batch(next(iter(dataset_of(run.batches))))
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    with pytest.raises(InputError, match=r"dataset_of\(batches, strategy=strategy\) makes"):
        check_passes(dataset_of(run.batches), one)
    with pytest.raises(ConfigError, match="fit got class_weight"):
        whole.fit(dataset_of(run.batches), class_weight={0: 1.0})
    with pytest.raises(ConfigError, match=r"fit got batch_size 8: .*ObjectiveSettings"):
        whole.fit(dataset_of(run.batches), steps_per_epoch=1, batch_size=8)
    with pytest.raises(ConfigError, match="fit got no steps_per_epoch"):
        whole.fit(dataset_of(run.batches))
    with pytest.raises(ConfigError, match="evaluate does not serve tasks"):
        whole.evaluate(dataset_of(run.batches), steps=1, verbose=0)
    other = small_batches(folder, model.config, MASKED_TASKS[:1])
    with pytest.raises(ConfigError, match="the dataset is of other tasks"):
        whole.fit(dataset_of(other), steps_per_epoch=1, verbose=0)
    with pytest.raises(ConfigError, match="accumulate is 0"):
        dataset_of(other, accumulate=0)
    with pytest.raises(ConfigError, match=r"first is 2\.0: expected a whole number from 0"):
        dataset_of(other, 2.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="call compile"):
        _ = TFWithObjectives(model, MASKED_TASKS).updates


def test_the_learning_rate_as_a_schedule() -> None:
    for rate in (InverseSquareRoot(1e-2, 5), InverseSquareRoot(3e-4, 7, 1e-6, 0.3)):
        schedule = Schedule.from_config(Schedule(rate).get_config())
        for update in (0, 1, 4, 5, 6, 7, 8, 1000, 10**6):
            found = schedule(tf.constant(update, tf.int64))
            assert found.dtype == tf.float64
            assert float(found) == pytest.approx(rate.at(update), rel=1e-14)


@pytest.mark.parametrize(
    ("name", "expected"), [("adam", "OriginalAdam"), ("adamw", "AdamW"), ("sgd", "SGD")]
)
def test_optimizers_by_name(name: str, expected: str) -> None:
    model = TFXLMWithLMHeadModel(small_config(n_layers=1))
    optimizer = optimizer_of(OptimizerSettings(name=name, learning_rate=2e-3), model)
    assert type(optimizer).__name__ == expected
    assert float(optimizer.learning_rate) == pytest.approx(2e-3)


def test_a_run_as_configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And Adam's state of the original, which the learning rate goes on behind."""
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
    monkeypatch.setattr(configured, "keep_freed_memory", lambda: None)
    values: dict[str, Any] = {
        "output": "run",
        "tokenizer": str(folder / "tokenizer"),
        "objectives": {"mlm": ["en"]},
        "precision": "float64",
        "model": {"n_layers": 1},
        "optimizer": OptimizerSettings(learning_rate=1e-2, warmup_updates=5),
    }
    data = {"data": {"train": {"en": str(folder / "en")}}, "duration": {"updates": 3}}
    config = configuration(values, data)
    with making_models(config):
        model = TFXLMWithLMHeadModel(small_config(n_layers=1), dtype=model_dtype(config))
    run = configured_run(config, model, small_batches(folder, model.config, MASKED_TASKS[:1]))
    moments = {"transformer.layer_norm_emb.weight": LazyTensor.of(np.full(8, 0.5))}
    steps = dict.fromkeys(moments, 4)
    monkeypatch.setattr(taking, "open_moments", lambda path: Moments(7, steps, moments, moments))
    table = "transformer.lang_embeddings.weight"  # taken only if its rows are where they were
    moments[table] = LazyTensor.of(np.zeros((small_config().n_langs, 8)))
    steps[table] = 4
    assert "of 2 parameters are taken" in run.take_original_adam("checkpoint.pth")
    said = run.take_original_adam("checkpoint.pth", match="words")
    assert "Adam's moments of 1 parameters are taken" in said
    (update,) = run.updates(1)
    rate = InverseSquareRoot(1e-2, 5)
    assert update.learning_rate == rate.at(7)
    assert float(run.optimizer.learning_rate) == pytest.approx(rate.at(8))
    monkeypatch.setattr(taking, "open_moments", lambda path: Moments())
    with pytest.warns(XLMWarning, match="no moments of Adam"):
        run.take_original_adam("checkpoint.pth")
    with (
        pytest.raises(ConfigError, match="fsdp"),
        making_models(configuration(values | {"parallel": "fsdp"}, data)),
    ):
        pass


@pytest.mark.parametrize(
    ("jobs", "number"),
    [
        ({}, 0),
        ({"worker": ["a:1"]}, 1),
        ({"worker": ["a:1", "b:1"]}, 2),
        ({"chief": ["a:1"], "worker": ["b:1"]}, 2),
    ],
)
def test_a_chief_is_one_of_the_workers(jobs: dict[str, Any], number: int) -> None:
    """Else each of the two would train alone, in one folder."""
    assert configured.workers_in(json.dumps({"cluster": jobs})) == number


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ("{", "expected JSON of a cluster"),
        ("[]", "expected JSON of a cluster"),
        ('{"cluster": {"worker": 2}}', "expected JSON of a cluster"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}', "names ps: expected a chief"),
    ],
)
def test_other_clusters_are_refused(cluster: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configured.workers_in(cluster)


def configuration(values: dict[str, Any], sections: dict[str, Any]) -> TrainingConfig:
    from xlm_core.training.config import DataSettings, DurationSettings

    made = {
        "data": DataSettings(**sections["data"]),
        "duration": DurationSettings(**sections["duration"]),
    }
    return TrainingConfig(**values, **made)
