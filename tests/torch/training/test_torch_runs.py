"""A training run in PyTorch: its loss, its updates, and that it goes on exactly."""

from __future__ import annotations

import functools
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from tests.support.shared import shared_path
from tests.support.training_runs import (
    ALL_TASKS,
    MASKED_TASKS,
    InterruptedOnce,
    small_batches,
    small_config,
    small_run,
    weights,
    write_corpora,
)
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.torch_files import read_torch, write_torch
from xlm_core.errors import CheckpointError, ConfigError, TrainingError, XLMWarning
from xlm_core.objectives import Batch, tasks_of
from xlm_core.training.config import (
    DataSettings,
    DurationSettings,
    OptimizerSettings,
    TrainingConfig,
)
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel
from xlm_torch.optimizers import OriginalAdam
from xlm_torch.training import (
    TrainingRun,
    WithObjectives,
    configured_run,
    learning_rate_of,
    making_models,
    optimizer_of,
    tensors_of,
)
from xlm_torch.training import run as runs

Folder = Path


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Any:
    from accelerate.state import AcceleratorState

    yield
    AcceleratorState._reset_state()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("corpora")
    write_corpora(made)
    return made


def sgd(parameters: Any, lr: float) -> torch.optim.Optimizer:
    del lr
    return torch.optim.SGD(parameters, lr=0.5)


def by_hand(run: TrainingRun, batch: Batch) -> tuple[torch.Tensor, int, int]:
    """Sum of losses over labels, their number, and how many have the highest logit."""
    tensors = tensors_of(batch)
    labels = tensors.pop("labels")
    model = run.model
    if batch.task.objective == "mt":
        start = torch.full_like(labels[:, :1], model.config.eos_index)
        shifted = torch.cat((start, labels[:, :-1]), 1)
        tensors["decoder_input_ids"] = shifted.masked_fill(shifted == -100, model.config.pad_index)
        logits = model(**tensors).logits
    elif isinstance(model, XLMForConditionalGeneration):
        hidden = model.encoder(**tensors).last_hidden_state
        logits = hidden @ model.encoder.embeddings.weight.T + model.encoder.pred_layer.proj.bias
    else:
        logits = model(**tensors).logits
    chosen = labels != -100
    logits, labels = logits[chosen], labels[chosen]
    losses = -logits.log_softmax(-1).gather(1, labels[:, None])
    return losses.sum(), len(labels), int((logits.argmax(-1) == labels).sum())


# -- the loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [ALL_TASKS, MASKED_TASKS, tasks_of("clm", ["en", "en-fr"])])
@pytest.mark.parametrize("mean_of_ranks", [False, True])
def test_an_update_is_that_of_the_formula(folder: Folder, tasks: Any, mean_of_ranks: bool) -> None:
    options: dict[str, Any] = {"tasks": tasks, "optimizer": sgd, "learning_rate": None}
    options |= {"accumulate": 2, "clip_grad_norm": 0.05, "settings": {"parts": 3}}
    options |= {"config": {"max_position_embeddings": 64}}
    run = small_run(folder, mean_of_ranks=mean_of_ranks, **options)
    plain = small_run(folder, **options)
    batches = [batch for step in (0, 1) for batch in plain.batches.global_batch(step)]
    sums = [by_hand(plain, batch) for batch in batches]
    number = sum(count for _, count, _ in sums)
    if mean_of_ranks:
        loss = sum(total / count for total, count, _ in sums) / len(sums)
    else:
        loss = sum(total for total, _, _ in sums) / number
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 0.05)
    [update] = run.updates(1)
    assert update.predicted == number
    assert update.tokens == run.tokens == sum(batch.tokens for batch in batches)
    assert update.learning_rate == 0.5
    assert update.gradient_norm == pytest.approx(float(norm), rel=1e-12)
    for task in tasks:
        mine = [x for x, b in zip(sums, batches, strict=True) if b.task == task]
        if mine:
            mean = sum(x[0].item() for x in mine) / sum(x[1] for x in mine)
            assert update.losses[task.name] == pytest.approx(mean, rel=1e-12)
        else:
            assert task.name not in update.losses
    found = weights(run)
    for name, parameter in plain.model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(
            found[name], (parameter - 0.5 * gradient).detach(), rtol=0, atol=1e-14
        )


def test_an_evaluation_is_that_of_the_formula(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(folder, config={"dropout": 0.3})
    list(run.updates(2))
    batches = [batch for step in range(3) for batch in run.batches.global_batch(step)]
    found = run.evaluate(batches)
    assert run.model.training
    monkeypatch.setattr(runs, "LOGITS_OF_EVALUATION", 5000)
    in_pieces = run.evaluate(batches)
    run.model.eval()
    sums = [by_hand(run, batch) for batch in batches]
    for tally in (found, in_pieces):
        assert tally.loss == pytest.approx(sum(x[0].item() for x in sums), rel=1e-12)
        assert tally.predicted == sum(x[1] for x in sums)
        assert tally.correct == sum(x[2] for x in sums)


def test_batches_without_labels_count_nothing(folder: Folder) -> None:
    run = small_run(folder, tasks=MASKED_TASKS, settings={"word_pred": 1e-9})
    before = weights(run)
    [update] = run.updates(1)
    assert (update.losses, update.predicted, update.gradient_norm) == ({}, 0, 0)
    after = weights(run)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert run.evaluate(run.batches.global_batch(0)).predicted == 0


# -- what is trained -------------------------------------------------------------------------------


def test_masking_trains_the_encoder_s_output_layer(folder: Folder) -> None:
    run = small_run(folder)
    before = weights(run)
    list(run.updates(3))
    after = weights(run)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert "encoder.pred_layer.proj.bias" in changed
    assert "decoder.pred_layer.proj.bias" in changed
    assert run.model.encoder.pred_layer.proj.weight is run.model.encoder.embeddings.weight

    translating = small_run(folder, tasks=tasks_of("mt", ["fr-en"]))
    before = weights(translating)
    list(translating.updates(3))
    after = weights(translating)
    kept = {name for name in after if torch.equal(after[name], before[name])}
    assert kept == {"encoder.pred_layer.proj.bias"}


def test_what_is_frozen_is_left_alone(folder: Folder) -> None:
    config = small_config()
    model: Any = XLMForConditionalGeneration(config).double()
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    batches = small_batches(folder, config, ALL_TASKS[2:] + ALL_TASKS[:1])
    run = TrainingRun(model, batches, OriginalAdam(model.parameters(), weight_decay=0.1))
    before = weights(run)
    # A step of the frozen encoder alone has nothing to train.
    assert not any(p.requires_grad for p in model.encoder.parameters())
    mt_only = small_batches(folder, config, ALL_TASKS[2:])
    run = TrainingRun(model, mt_only, OriginalAdam(model.parameters(), weight_decay=0.1))
    list(run.updates(2))
    after = weights(run)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)


def test_what_cannot_be_trained_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    batches = small_batches(folder, config, MASKED_TASKS)

    def made(change: Callable[[Any], Any] = lambda model: None, some: Any = None) -> TrainingRun:
        model: Any = XLMWithLMHeadModel(config)
        change(model)
        parameters = list(model.parameters()) if some is None else some(model)
        return TrainingRun(model, batches, OriginalAdam(parameters))

    with pytest.raises(ConfigError, match=r"not the optimizer's: transformer.position_embeddings"):
        made(some=lambda model: list(model.parameters())[1:])
    with pytest.raises(ConfigError, match="has 38 parameters that are not the model's"):
        made(
            lambda model: model.requires_grad_(False),
            some=lambda model: list(XLMWithLMHeadModel(config).parameters()),
        )
    with pytest.raises(ConfigError, match=r"half precision.*float\(\)"):
        made(lambda model: model.half())
    with pytest.raises(ConfigError, match=r"checkpoints do not hold: adapter.weight"):
        made(lambda model: setattr(model, "adapter", torch.nn.Linear(2, 2)))
    with pytest.raises(ConfigError, match=r"transformer.embeddings is sparse"):
        made(lambda model: setattr(model.transformer.embeddings, "sparse", True))
    with pytest.raises(ConfigError, match="nothing to train"):
        made(lambda model: model.requires_grad_(False))
    with pytest.raises(ConfigError, match="MT-fr-en cannot train XLMWithLMHeadModel"):
        WithObjectives(XLMWithLMHeadModel(config), ALL_TASKS)
    with pytest.raises(ConfigError, match="CLM-en cannot train XLMForConditionalGeneration"):
        WithObjectives(XLMForConditionalGeneration(config), tasks_of("clm", ["en"]))
    with pytest.raises(ConfigError, match=r"precision is 'bf16': expected one of .*bfloat16"):
        small_run(folder, precision="bf16")
    with pytest.raises(ConfigError, match=r"the weights are torch.float32: call model.double\(\)"):
        small_run(folder, dtype=torch.float32, precision="float64")
    with pytest.raises(ConfigError, match="parallel is 'deepspeed'"):
        small_run(folder, parallel="deepspeed")
    with pytest.raises(ConfigError, match=r"rate is 0\.0001: expected an InverseSquareRoot"):
        small_run(folder, learning_rate=1e-4)
    with pytest.raises(ConfigError, match="clip_grad_norm is None"):
        small_run(folder, clip_grad_norm=None)
    for norm in (-1.0, float("nan")):  # which would turn gradients around, or vanish in a `min`
        with pytest.raises(ConfigError, match=f"clip_grad_norm is {norm}"):
            small_run(folder, clip_grad_norm=norm)
    for number in (0, 1.5, True):
        with pytest.raises(ConfigError, match=f"accumulate is {number}"):
            small_run(folder, accumulate=number)
    with pytest.raises(ConfigError, match=r"accumulates.*_steps = 4\).*give accumulate="):
        small_run(folder, accelerator=Accelerator(cpu=True, gradient_accumulation_steps=4))
    with pytest.raises(ConfigError, match="in another precision already, and not in bfloat16"):
        runs.accelerator_of("bfloat16")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes were started"):
        made()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_float16_is_for_gpus(folder: Folder) -> None:
    with pytest.raises(ConfigError, match="float16 trains on GPUs alone"):
        configured(folder, precision="float16")
    configured(folder, precision="float32")  # which this process is still free to choose


def test_numbers_that_are_not_finite_change_nothing(folder: Folder) -> None:
    undisturbed = small_run(folder, tasks=MASKED_TASKS)
    expected = list(undisturbed.updates(3))
    run = small_run(folder, tasks=MASKED_TASKS)
    list(run.updates(1))
    before = weights(run)
    bias = run.model.transformer.layer_norm_emb.bias
    with torch.no_grad():
        kept = bias.clone()
        bias[0] = torch.nan
    with pytest.raises(TrainingError, match=r"the loss of [\w, -]+ is nan, in update 2, at a"):
        list(run.updates(2))
    with torch.no_grad():
        bias.copy_(kept)
    hook = bias.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingError, match=r"the norm of the gradients is (nan|inf), at a loss"):
        list(run.updates(2))
    hook.remove()
    after = weights(run)
    assert run.update == 1
    assert all(torch.equal(after[name], before[name]) for name in before)
    # Who mends it goes on with the same batches.
    assert [u.losses for u in run.updates(3)] == [u.losses for u in expected[1:]]


def test_an_update_that_was_interrupted_is_made_again(folder: Folder) -> None:
    """On its own batches, not those that were read ahead."""
    expected = list(small_run(folder, tasks=MASKED_TASKS).updates(4))
    run = small_run(folder, tasks=MASKED_TASKS, learning_rate=InterruptedOnce(2))
    with pytest.raises(KeyboardInterrupt):
        list(run.updates(4))
    assert run.update == 2
    assert list(run.updates(4)) == expected[2:]


def test_a_run_goes_to_another_update(folder: Folder) -> None:
    options: dict[str, Any] = {"tasks": MASKED_TASKS, "accumulate": 2}
    run = small_run(folder, **options)
    list(run.updates(1))
    run.go_to(5)
    [made] = run.updates(6)
    batches = [batch for step in (10, 11) for batch in run.batches.global_batch(step)]
    assert (made.number, made.tokens) == (5, sum(batch.tokens for batch in batches))
    assert made.predicted == sum(batch.predicted for batch in batches)


def test_models_that_return_tuples_train_alike(folder: Folder) -> None:
    options: dict[str, Any] = {"tasks": MASKED_TASKS}
    expected = list(small_run(folder, **options).updates(1))
    run = small_run(folder, config={"return_dict": False}, **options)
    assert list(run.updates(1)) == expected


def test_loops_that_accumulated_leave_no_trace(folder: Folder) -> None:
    """Accelerate keeps it for the process whether gradients are to be used, and their number."""
    from accelerate.state import GradientState

    options: dict[str, Any] = {"tasks": MASKED_TASKS}
    run = small_run(folder, **options)
    expected = list(run.updates(2))
    weights = {name: x.clone() for name, x in run.model.state_dict().items()}
    state = GradientState()
    run = small_run(folder, **options)
    state._set_sync_gradients(False)
    before = dict(state.plugin_kwargs)
    try:
        state.plugin_kwargs.update(num_steps=4)
        assert list(run.updates(2)) == expected
    finally:
        state.plugin_kwargs.clear()
        state.plugin_kwargs.update(before)
    for name, x in run.model.state_dict().items():
        assert torch.equal(x, weights[name]), name


def test_a_default_device_is_no_business_of_a_run(folder: Folder) -> None:
    options: dict[str, Any] = {"tasks": MASKED_TASKS, "workers": 1}
    expected = list(small_run(folder, **options).updates(2))
    run = small_run(folder, **options)
    with torch.device("meta"):
        assert list(run.updates(2)) == expected
        run.save(folder / "of a default device")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORLD_SIZE", "", "WORLD_SIZE is '': expected a number of processes"),
        ("LOCAL_RANK", "0", r"cannot start with the environment of this process.*torchrun"),
    ],
)
def test_what_launchers_left_over_is_named(name: str, value: str, words: str) -> None:
    """In a process of its own: Accelerate begins once."""
    code = (
        "from xlm_core import ConfigError\n"
        "from xlm_torch.training import accelerating\n"
        "try:\n    accelerating._started(); accelerating.accelerator_of()\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    left = ("WORLD_SIZE", "LOCAL_RANK", "RANK", "MASTER_ADDR", "MASTER_PORT")
    environment = {key: x for key, x in os.environ.items() if key not in left} | {name: value}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert re.search(words, done.stdout)


def test_a_run_in_another_dtype_is_refused(folder: Folder, tmp_path: Path) -> None:
    run = small_run(folder, tasks=MASKED_TASKS)
    run.save(tmp_path / "run")
    other = small_run(folder, tasks=MASKED_TASKS)
    other.model.float()
    with pytest.raises(CheckpointError, match=r"whose weights are torch.float64, .*torch.float32"):
        other.resume(tmp_path / "run")


def test_a_reader_that_ends_is_told_in_words(folder: Folder) -> None:
    before = {process.pid for process in multiprocessing.active_children()}
    run = small_run(folder, tasks=MASKED_TASKS, workers=1)
    list(run.updates(1))
    [reader] = [x for x in multiprocessing.active_children() if x.pid not in before]

    def kill_and_go_on() -> None:  # the error may come at once, wherever the run is
        os.kill(reader.pid or 0, signal.SIGKILL)
        list(run.updates(1000))

    with pytest.raises(RuntimeError) as raised:
        kill_and_go_on()
    said = run.lost_process(raised.value) or ""
    # As PyTorch hears of it: by a signal, or by asking.
    how = "(killed by signal: Killed|exited unexpectedly)"
    assert re.match(rf"a reading process ended \(pid {reader.pid}, {how}\): did memory", said), said


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_reader_outlives_what_stops_its_run(folder: Folder, name: str) -> None:
    """torchrun and terminals tell all processes: the run saves, which needs nobody killed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(4)  # as many a reader has from its first line on, any of which it may hit
    try:
        _send_to_a_reader(folder, name)
    finally:
        torch.set_num_threads(threads)


def _send_to_a_reader(folder: Folder, name: str) -> None:
    before = {process.pid for process in multiprocessing.active_children()}
    run = small_run(folder, tasks=MASKED_TASKS, workers=1)
    list(run.updates(1))
    [reader] = [x for x in multiprocessing.active_children() if x.pid not in before]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not blocked & {signal.SIGTERM, signal.SIGHUP}
    subprocess.run(["kill", f"-{name}", str(reader.pid)], check=True)
    time.sleep(0.2)
    list(run.updates(3))
    assert reader.is_alive()
    reader.terminate()  # as Python itself does when it ends
    reader.join(5)
    assert reader.exitcode == 0


# -- checkpoints -----------------------------------------------------------------------------------


def adamw(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.1)


def momentum(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


@pytest.mark.parametrize("optimizer", [OriginalAdam, adamw, momentum, torch.optim.Adafactor])
def test_a_resumed_run_is_the_uninterrupted_one(
    folder: Folder, tmp_path: Path, optimizer: Any
) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "dtype": torch.float32}
    options["config"] = {"dropout": 0.2, "attention_dropout": 0.1}
    whole = small_run(folder, **options)
    first = list(whole.updates(3))
    whole.save(tmp_path / "saved", {"best": 3.5})
    last = list(whole.updates(7))
    torch.rand(3)
    resumed = small_run(folder, workers=1, **options)
    list(resumed.updates(1))
    assert resumed.resume(tmp_path / "saved") == {"best": 3.5}
    assert (resumed.update, resumed.tokens) == (3, sum(u.tokens for u in first))
    assert list(resumed.updates(7)) == last
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "model",
        "optimizer.safetensors",
        "training.json",
    ]
    opened = type(whole.model).from_pretrained(tmp_path / "saved" / "model")
    assert opened.config.vocab_size == 40
    whole.save_model(tmp_path / "model")
    again = type(whole.model).from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last(
    folder: Folder, tmp_path: Path
) -> None:
    run = small_run(folder, tasks=MASKED_TASKS)
    list(run.updates(1))
    run.save(tmp_path / "saved")
    list(run.updates(2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    words = r"saved cannot be written: .*\. What was written before is as it was\. Make room\.$"
    try:
        with pytest.raises(CheckpointError, match=words):
            run.save(tmp_path / "saved")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    fresh = small_run(folder, tasks=MASKED_TASKS)
    fresh.resume(tmp_path / "saved")
    assert fresh.update == 1
    list(run.updates(3))  # and the run goes on


def test_batches_for_another_model_are_refused(folder: Path) -> None:
    run = small_run(folder, tasks=MASKED_TASKS)
    for changes, words in (
        ({"lang2id": {"en": 1, "fr": 0}}, r"lang2id \{'en': 1, 'fr': 0\}"),
        ({"n_langs": 1}, "several languages False"),
        ({"pad_index": 3}, "pad_index 3"),
        ({"vocab_size": 50}, r"vocab_size 50 \(the model's: 40\)"),
        ({"max_position_embeddings": 128}, "max_position_embeddings 128"),
    ):
        other = small_batches(folder, small_config(**changes), MASKED_TASKS)
        with pytest.raises(ConfigError, match=words):
            TrainingRun(run.model, other, OriginalAdam(run.model.parameters()))
    larger = XLMWithLMHeadModel(small_config(vocab_size=50, max_position_embeddings=128))
    TrainingRun(larger, run.batches, OriginalAdam(larger.parameters()))
    nameless = XLMWithLMHeadModel(
        small_config(lang2id=None)
    )  # what is not said contradicts nothing
    TrainingRun(nameless, run.batches, OriginalAdam(nameless.parameters()))
    for causal in (True, False):
        model = XLMWithLMHeadModel(small_config(causal=causal))
        with pytest.raises(ConfigError, match=f"and this one has causal={causal}"):
            WithObjectives(model, MASKED_TASKS if causal else tasks_of("clm", ["en"]))


def test_other_hyperparameters_are_refused(folder: Path, tmp_path: Path) -> None:
    """Those in force are the checkpoint's: another number would be given in vain."""
    run = small_run(folder, tasks=MASKED_TASKS, learning_rate=None)
    for group in run.optimizer.param_groups:
        group["lr"] = 5e-4  # by a scheduler: what was given stands in the checkpoint
    run.save(tmp_path / "saved")
    made = functools.partial(small_run, folder, tasks=MASKED_TASKS, learning_rate=None)
    adam: Any = OriginalAdam
    for options, words in (
        ({"optimizer": lambda x, lr: adam(x, 1e-2)}, r"hyperparameters\.lr 0\.001 \(here 0\.01\)"),
        ({"optimizer": lambda x, lr: adam(x, lr, (0.9, 0.98))}, r"betas \[0\.9, 0\.999\] \(here"),
        ({"learning_rate": InverseSquareRoot(1e-2, 5)}, "learning_rate None"),
        ({"clip_grad_norm": 0.5}, r"clip_grad_norm 1\.0 \(here 0\.5\)"),
    ):
        with pytest.raises(CheckpointError, match=words):
            made(**options).resume(tmp_path / "saved")
    again = made()
    again.resume(tmp_path / "saved")
    assert again.optimizer.param_groups[0]["lr"] == 5e-4


def test_ctrl_c_while_weights_change_wants_a_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some may be changed and others not: nothing goes on from there, or is saved."""
    expected = small_run(folder, tasks=MASKED_TASKS)
    list(expected.updates(3))
    run = small_run(folder, tasks=MASKED_TASKS)
    list(run.updates(1))
    run.save(tmp_path / "saved")

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run.updates(3))
    monkeypatch.undo()
    for go_on in (lambda: list(run.updates(3)), lambda: run.save(tmp_path / "other")):
        with pytest.raises(TrainingError, match=r"update 2 was interrupted while .* resume\(\)"):
            go_on()
    run.resume(tmp_path / "saved")
    list(run.updates(3))
    for name, tensor in weights(expected).items():
        assert torch.equal(weights(run)[name], tensor), name


def test_other_checkpoints_are_refused(folder: Folder, tmp_path: Path) -> None:
    run = small_run(folder, tasks=MASKED_TASKS)
    list(run.updates(1))
    run.save(tmp_path / "saved")
    before = weights(run)

    def refused(match: str, of: TrainingRun = run) -> None:
        kept = weights(of)
        with pytest.raises(CheckpointError, match=match):
            of.resume(tmp_path / "saved")
        now = weights(of)
        assert all(torch.equal(now[name], kept[name]) for name in kept)

    refused("is of another run: tasks", small_run(folder))
    refused("of another run: accumulate 1", small_run(folder, tasks=MASKED_TASKS, accumulate=2))
    shorter = small_run(folder, tasks=MASKED_TASKS, settings={"bptt": 6})
    refused(r"another run: settings.bptt 8 \(here 6\)\.$", shorter)
    refused(
        "OriginalAdam, and this run AdamW", small_run(folder, tasks=MASKED_TASKS, optimizer=adamw)
    )
    refused("has shape", small_run(folder, tasks=MASKED_TASKS, config={"emb_dim": 12}))
    for name in ("optimizer.safetensors", "training.json"):
        path = tmp_path / "saved" / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        refused("damaged")
        path.unlink()
        refused("no checkpoint of a training run")
        path.write_bytes(content)
    shutil.rmtree(tmp_path / "saved" / "model")
    refused("model")
    assert all(torch.equal(weights(run)[name], before[name]) for name in before)


# -- by a configuration ----------------------------------------------------------------------------


def test_optimizers_have_their_names(folder: Folder) -> None:
    model = XLMWithLMHeadModel(small_config())
    number = len(list(model.parameters()))
    for name, kind in (
        ("adam_inverse_sqrt", OriginalAdam),
        ("adam", OriginalAdam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
    ):
        settings = OptimizerSettings(name=name, learning_rate=2e-3)
        optimizer = optimizer_of(settings, model)
        assert type(optimizer) is kind
        [group] = optimizer.param_groups
        assert (len(group["params"]), group["lr"]) == (number, 2e-3)
        rate = learning_rate_of(settings)
        assert (rate is None) == (name != "adam_inverse_sqrt")
    full = OptimizerSettings(betas=[0.8, 0.98], eps=1e-6, weight_decay=0.01, warmup_updates=7)
    assert learning_rate_of(full) == InverseSquareRoot(1e-4, 7)
    [group] = optimizer_of(full, model).param_groups
    assert [group[key] for key in ("betas", "eps", "weight_decay")] == [(0.8, 0.98), 1e-6, 0.01]
    for wrong in ({"warmup_updates": 5}, {"warmup_init_lr": 0.1}):
        with pytest.raises(ConfigError, match=f"optimizer.{next(iter(wrong))} .* adamw does not"):
            OptimizerSettings(name="adamw", **wrong)
    with pytest.raises(ConfigError, match=r"optimizer.betas .* sgd does not"):
        OptimizerSettings(name="sgd", betas=[0.9, 0.98])


def configured(folder: Path, **changes: Any) -> TrainingRun:
    corpora = {name: str(folder / name) for name in ("en", "fr")}
    config = TrainingConfig(
        output="out",
        tokenizer=str(folder / "tokenizer"),
        objectives={"mlm": ["en", "fr"]},
        model={"emb_dim": 8},
        data=DataSettings(train=corpora),
        duration=DurationSettings(updates=10),
        **changes,
    )
    with making_models(config):
        model: Any = XLMWithLMHeadModel(small_config())
    return configured_run(config, model, small_batches(folder, model.config, config.tasks))


def test_a_run_is_made_as_its_configuration_says(folder: Folder) -> None:
    run = configured(folder, optimizer=OptimizerSettings(accumulate=3, clip_grad_norm=2.0), seed=5)
    assert (run.accumulate, run.clip_grad_norm, run.notes) == (3, 2.0, ())
    assert run.learning_rate == InverseSquareRoot(1e-4, 4000)
    again = configured(folder, seed=5)
    assert all(
        torch.equal(x, y)
        for x, y in zip(weights(run).values(), weights(again).values(), strict=True)
    )


def test_half_precision_trains_weights_in_float32(folder: Folder) -> None:
    exact = configured(folder)
    expected = [list(exact.updates(4)), exact.evaluate(exact.batches.global_batch(9)).loss]
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    run = configured(folder, precision="bfloat16")
    found = [list(run.updates(4)), run.evaluate(run.batches.global_batch(9)).loss]
    assert {x.dtype for x in weights(run).values()} == {torch.float32}
    assert found[1] == pytest.approx(expected[1], rel=2e-2)
    assert found[1] != expected[1]
    for mine, theirs in zip(found[0], expected[0], strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=2e-2)


# -- from the original -----------------------------------------------------------------------------


def original_checkpoint(path: Path, *, trained: bool) -> dict[str, Any]:
    """A training checkpoint of the original: one of its own, with moments if it is `trained`."""
    [source] = shared_path("golden/facebook/training_checkpoint_module_prefix").glob("*.pth")
    content: dict[str, Any] = read_torch(source)
    state = content["model_optimizer"]
    # As in the original: those that require gradients, in their order, the tied one once.
    names = [name for name in content["model"] if name != "module.pred_layer.proj.weight"]
    assert state["param_groups"][0]["params"] == list(range(len(names)))
    if trained:
        state["param_groups"][0]["num_updates"] = 50
        state["state"] = {
            place: {
                "step": 50 - place,
                "exp_avg": LazyTensor.of(2 * content["model"][name].read()),
                "exp_avg_sq": LazyTensor.of(content["model"][name].read() ** 2),
            }
            for place, name in enumerate(names)
            if place != 3  # never had a gradient
        }
    write_torch(path, content, legacy=True)
    return content


def test_the_original_s_moments_are_taken(folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    content = original_checkpoint(path, trained=True)
    model: Any = XLMWithLMHeadModel.from_pretrained(path)
    batches = small_batches(folder, model.config, MASKED_TASKS, bptt=4, max_len=4)
    rate = InverseSquareRoot(1e-3, 10)
    run = TrainingRun(model, batches, OriginalAdam(model.parameters()), learning_rate=rate)
    said = run.take_original_adam(path)
    names = [name for name in content["model"] if name != "module.pred_layer.proj.weight"]
    assert f"moments of {len(names) - 1} parameters are taken, those of 1 start afresh" in said
    assert "goes on behind its 50 updates" in said
    steps = set()
    for name, parameter in model.named_parameters():
        state = run._inner_optimizer().state.get(parameter)
        if name.endswith("layer_norm_emb.weight"):
            assert not state
            continue
        torch.testing.assert_close(state["exp_avg"], 2 * parameter.detach(), rtol=0, atol=0)
        torch.testing.assert_close(state["exp_avg_sq"], parameter.detach() ** 2, rtol=1e-6, atol=0)
        steps.add(state["step"])
    assert len(steps) == len(names) - 1
    [update] = run.updates(1)
    assert update.learning_rate == rate.at(50)
    run.save(tmp_path / "saved")
    again = TrainingRun(model, batches, OriginalAdam(model.parameters()), learning_rate=rate)
    again.resume(tmp_path / "saved")
    assert again.updates_before == 50
    # Rows may stand for other words and languages now, in tables of the same size.
    tables = [name for name in names if name.endswith((".embeddings.weight", "proj.bias"))]
    tables += [name for name in names if name.endswith("lang_embeddings.weight")]
    words = TrainingRun(model, batches, OriginalAdam(model.parameters()), learning_rate=rate)
    said = words.take_original_adam(path, match="words")
    assert f"{len(names) - 1 - len(tables)} parameters are taken" in said
    state = words._inner_optimizer().state
    assert not state.get(model.transformer.embeddings.weight)
    assert state[model.transformer.position_embeddings.weight]


def test_an_original_without_moments_says_so(folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    original_checkpoint(path, trained=False)
    run = small_run(folder, tasks=MASKED_TASKS)
    with pytest.warns(XLMWarning, match="no moments of Adam are taken: it has no state of Adam"):
        run.take_original_adam(path)
    run.save(tmp_path / "saved")
    assert run.take_original_adam(tmp_path / "saved" / "model") == ""
    content = original_checkpoint(path, trained=True)
    content["model_optimizer"]["state"][0]["exp_avg"] = LazyTensor.of(np.zeros((2, 2), "f4"))
    write_torch(path, content, legacy=True)
    with pytest.raises(CheckpointError, match=r"model_optimizer is damaged.*a moment of shape"):
        run.take_original_adam(path)
    content["model_optimizer"]["param_groups"][0]["params"].pop()
    write_torch(path, content, legacy=True)
    with pytest.raises(CheckpointError, match="model_optimizer has 37 parameters, expected 38"):
        run.take_original_adam(path)
    original_checkpoint(path, trained=True)
    other = small_run(folder, tasks=MASKED_TASKS, optimizer=adamw)
    with pytest.warns(XLMWarning, match="this is another optimizer"):
        other.take_original_adam(path)
