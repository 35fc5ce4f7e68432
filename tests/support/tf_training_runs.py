"""Small training runs in Keras: of a test, and of the processes that a test starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.support.training_corpora import ALL_TASKS, ROOT, small_batches, small_config
from xlm_core.objectives import Task
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_tf import (
    TFXLMForConditionalGeneration,
    TFXLMForSequenceClassification,
    TFXLMWithLMHeadModel,
)
from xlm_tf.optimizers import OriginalAdam
from xlm_tf.training import TrainingRun, dataset_of
from xlm_tf.training.updates import number_in


def small_run(
    folder: Path,
    *,
    tasks: tuple[Task, ...] = ALL_TASKS,
    config: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    optimizer: Any = OriginalAdam,
    dtype: str = "float64",
    strategy: tf.distribute.Strategy | None = None,
    start: Path | None = None,
    **options: Any,
) -> TrainingRun:
    """A run over the corpora in `folder`: equal ones are made by equal calls."""
    translates = any(task.objective == "mt" for task in tasks)
    kind = TFXLMForConditionalGeneration if translates else TFXLMWithLMHeadModel
    made = small_config(causal=tasks[0].objective == "clm", **(config or {}))
    with nullcontext() if strategy is None else strategy.scope():
        keras.utils.set_random_seed(1)
        model = kind.from_pretrained(start, dtype=dtype) if start else kind(made, dtype=dtype)
        its_optimizer = optimizer(1e-3)
    batches = small_batches(folder, made, tasks, **(settings or {}))
    options = {"learning_rate": InverseSquareRoot(1e-2, 5), "clip_grad_norm": 1.0, **options}
    return TrainingRun(model, batches, its_optimizer, **options)


def weights(run: TrainingRun) -> dict[str, np.ndarray[Any, Any]]:
    """All of them, by PyTorch's names."""
    return {name: x.copy() for name, x in run.model._arrays().items()}


def run_processes(
    mode: str, folder: Path, *, number: int, timeout: float = 600
) -> list[dict[str, Any]]:
    """Run this module in several processes, and end them all; what each found."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    started = []
    try:
        for rank in range(number):
            cluster = {
                "cluster": {"worker": workers},
                "task": {"type": "worker", "index": rank},
            }
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, mode, str(folder), str(rank)],
                cwd=ROOT,
                env={**os.environ, **({"TF_CONFIG": json.dumps(cluster)} if number > 1 else {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            started.append(process)
        outputs = [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    for process, output in zip(started, outputs, strict=True):
        assert process.returncode == 0, output[-4000:]
    return [
        json.loads((folder / f"{mode}-{rank}.json").read_text(encoding="utf-8"))
        for rank in range(number)
    ]


def trained(run: TrainingRun, folder: Path, name: str) -> dict[str, Any]:
    """Four updates, of which a checkpoint divides the last two, and an evaluation."""
    updates = list(run.updates(2))
    run.save(folder / name)
    updates += run.updates(4)
    parts = run.batches.global_batch(0)
    tally = run.evaluate(parts)
    return {
        "losses": [update.losses for update in updates],
        "norms": [update.gradient_norm for update in updates],
        "tokens": run.tokens,
        "tally": [tally.loss, tally.predicted, tally.correct],
        "ranks": run.ranks,
        "values": run.of_all_ranks(float(run.is_main)),
    }


def fitted_alone(
    strategy: tf.distribute.Strategy | None = None,
) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
    """A language model by itself behind one step of Keras' `fit`: its loss, and its weights."""
    with nullcontext() if strategy is None else strategy.scope():
        keras.utils.set_random_seed(1)
        model = TFXLMWithLMHeadModel(small_config(n_layers=1), dtype="float64")
        model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    ids = np.arange(14, 30).reshape(4, 4)
    batch = {"input_ids": ids, "langs": np.zeros_like(ids), "labels": ids}
    data = tf.data.Dataset.from_tensor_slices(batch).batch(4)
    loss = model.fit(data, verbose=0, shuffle=False).history["loss"][0]
    return loss, {name: x.copy() for name, x in model._arrays().items()}


def fitted_heads(strategy: tf.distribute.Strategy) -> dict[str, list[float]]:
    """Classifiers behind two steps of Keras' `fit`, of five rows and of one: their histories."""
    found: dict[str, list[float]] = {}
    ids = np.arange(14, 38).reshape(6, 4)
    kinds = {
        "classes": ({"num_labels": 3}, ids[:, 0] % 3, {"metrics": ["accuracy"]}),
        "regression": ({"num_labels": 1}, ids[:, 0] / 38, {}),
        "loss of Keras": (
            {"num_labels": 3},
            ids[:, 0] % 3,
            {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        ),
    }
    for name, (config, labels, options) in kinds.items():
        with strategy.scope():
            made = small_config(n_layers=1, n_langs=1, lang2id=None, **config)
            model = TFXLMForSequenceClassification(made)
            model.compile(keras.optimizers.SGD(0.1), jit_compile=False, **options)
        data = tf.data.Dataset.from_tensor_slices((ids, labels)).batch(5)
        history = model.fit(data, verbose=0, shuffle=False).history
        found |= {f"{name}: {key}": values for key, values in history.items()}
    return found


def odd_run(folder: Path, strategy: tf.distribute.Strategy | None = None) -> TrainingRun:
    """Of five rows a batch, from the weights in `folder`."""
    return small_run(
        folder,
        tasks=DEVICE_TASKS,
        settings={"batch_size": 5, "parts": 1},
        strategy=strategy,
        start=folder / "start" / "model",
    )


def outlive_the_other(run: TrainingRun, file: Path) -> None:
    """Of two workers the second one ends between updates; the first keeps what it says of that."""
    list(run.updates(2))
    if not run.is_main:
        file.write_text("{}", encoding="utf-8")
        os._exit(0)
    try:
        list(run.updates(1000))
    except tf.errors.OpError as error:
        file.write_text(json.dumps({"lost": run.lost_process(error)}), encoding="utf-8")
        os._exit(0)


def main(mode: str, folder: Path, rank: str) -> None:
    """What a process of `run_processes` does."""
    if mode == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        strategy: Any = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    run = small_run(
        folder,
        tasks=DEVICE_TASKS,
        strategy=strategy,
        config={"n_layers": 1},
        start=folder / "start" / "model" if mode == "mirrored" else None,
    )
    if mode == "lost":
        outlive_the_other(run, folder / f"{mode}-{rank}.json")
        return
    found = trained(run, folder, f"{mode}-checkpoint")
    drawn = strategy.run(lambda: run.whole.model.encoder.draw_seed(True))
    own = [x.numpy().tolist() for x in strategy.experimental_local_results(drawn)]
    found["seeds"] = own
    np.savez(folder / f"{mode}-{rank}.npz", **weights(run))
    if mode == "mirrored":
        seeds = strategy.run(lambda: run.model.encoder.draw_seed(True))
        found["seeds"] = [x.numpy().tolist() for x in strategy.experimental_local_results(seeds)]
        with strategy.scope():
            scaling = keras.optimizers.LossScaleOptimizer(OriginalAdam(1e-3))
            scaling.build(run.model.trainable_variables[:1])
        found["numbers"] = [number_in(x) for x in (scaling.dynamic_scale, scaling.learning_rate)]
        found["fit"], arrays = fitted_alone(strategy)
        np.savez(folder / "fitted-alone.npz", **arrays)
        found["heads"] = fitted_heads(strategy)
        run.resume(folder / f"{mode}-checkpoint")
        found["losses again"] = [update.losses for update in run.updates(4)]
        run.resume(folder / "start")
        batches = dataset_of(run.batches, strategy=strategy)
        run.whole.fit(batches, steps_per_epoch=4, verbose=0)
        np.savez(folder / "fitted.npz", **weights(run))
        # Whose rows no two devices share alike, from the first batch on.
        run = odd_run(folder, strategy)
        run.whole.fit(dataset_of(run.batches, strategy=strategy), steps_per_epoch=2, verbose=0)
        np.savez(folder / "odd.npz", **weights(run))
    (folder / f"{mode}-{rank}.json").write_text(json.dumps(found), encoding="utf-8")


DEVICE_TASKS = (ALL_TASKS[0], ALL_TASKS[2])

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
