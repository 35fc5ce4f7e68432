"""TensorFlow: this project in Keras 3, and transformers' TFXLM on tf-keras."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.speed.protocol import Absent, Prepared, Side, memory_mb, reset_peak
from benchmarks.speed.sides import pretraining_tf
from benchmarks.speed.tasks import (
    BETAS,
    COMPARED_SENTENCES,
    DECAY,
    EPSILON,
    IGNORED,
    LEARNING_RATE,
    Batch,
    Task,
    batch_of,
)

CLASSES = {"encode": "TFXLMModel"}
HEAD = "TFXLMWithLMHeadModel"
LAYOUTS = {"xlm_tf": "torch", "transformers": "tf"}


class TensorFlowSide(Side):
    """`library` is a package with TFXLMModel and TFXLMWithLMHeadModel.

    Options: dtype; mode ("function", "xla"; without: called as it is); dense (no mask given); plain
    (our formulas alone); quantized ("all", or "weights" alone); sentences (only the first);
    optimizer ("keras": Keras' own, where the package has one).
    """

    def __init__(self, library: str, folder: Path) -> None:
        super().__init__(library, folder)
        self.package = importlib.import_module(library)
        self.ours = library == "xlm_tf"
        keras = "keras" if self.ours else "tf_keras"
        self.keras = importlib.import_module(keras)
        getattr(self.package, HEAD)  # transformers 5 has none: an ImportError names what is missing
        self.models: dict[tuple[str, str], Any] = {}

    def version(self) -> str:
        """The package's, with TensorFlow's."""
        own = getattr(self.package, "__version__", "")
        return f"{self.library} {own}".strip() + f", tensorflow {tf.__version__}"

    def forget(self, kinds: Collection[str]) -> None:
        """Models in float32 may stay."""
        kept = {(CLASSES.get(kind, HEAD), "float32") for kind in kinds}
        self.models = {key: model for key, model in self.models.items() if key in kept}

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`."""
        if task.kind == "memory":
            return Prepared(lambda: self.memory_of_step(task, options))
        if task.kind == "generate":
            return Prepared(self.generating(task, options))
        if task.kind == "update":
            # It imports Keras 3, which has no place beside TFXLM's Keras 2.
            updating = importlib.import_module("benchmarks.speed.sides.updating_tf")
            prepared: Prepared = updating.prepared(task, options.get("optimizer", ""))
            return prepared
        batch = task.first(options["sentences"]) if "sentences" in options else batch_of(task)
        if task.kind == "train":
            return self.training(task, batch, options)
        if task.kind == "pretrain":
            model = self.model(task, options)
            return pretraining_tf.prepared(task, model, self.keras, self.loss_of, ours=self.ours)
        call = self.call_of(task, self.model(task, options), batch, options)

        def run() -> tf.Tensor:
            with self.plainly(options):
                return call()

        return Prepared(lambda: run().numpy(), lambda: run().numpy().astype("float64"))

    def model(self, task: Task, options: dict[str, Any]) -> Any:
        """Opened from the folder; or with random weights, where the shape is another."""
        name = CLASSES.get(task.kind, HEAD)
        dtype = options.get("dtype", "float32")
        quantized = options.get("quantized")
        key = (name, f"quantized {quantized}" if quantized else dtype)
        key = (name, f"{key[1]}, causal") if options.get("causal") else key
        if options.get("random"):
            key = (name, str(task.shape))
        if key not in self.models:
            model = self.open(name, task, options)
            if quantized:
                function = getattr(self.package, "quantize", None)
                if function is None:
                    raise Absent(f"{self.library} has no quantize")
                given = {"activations": False} if quantized == "weights" else {}
                model = function(model, **given) or model
            self.models[key] = model
        # What is trained is nobody else's.
        trains = task.kind in ("train", "pretrain")
        return self.models.pop(key) if trains else self.models[key]

    def open(self, name: str, task: Task, options: dict[str, Any]) -> Any:
        """As `model`."""
        made = getattr(self.package, name)
        dtype = {"dtype": options["dtype"]} if "dtype" in options else {}
        if not options.get("random"):
            causal = {"causal": True} if options.get("causal") else {}
            return made.from_pretrained(self.folder / LAYOUTS[self.library], **dtype, **causal)
        return made(self.package.XLMConfig(**task.shape.config()), **dtype)

    def plainly(self, options: dict[str, Any]) -> Any:
        """Our formulas alone, if asked for."""
        if not options.get("plain"):
            return nullcontext()
        try:
            return importlib.import_module(self.library).formulas_only()
        except ImportError as error:
            raise Absent(str(error)) from error

    def call_of(
        self, task: Task, model: Any, batch: Batch, options: dict[str, Any]
    ) -> Callable[[], tf.Tensor]:
        """The call that is timed."""
        given = self.arguments(batch, mask=not options.get("dense"))
        labels = tf.constant(batch.labels.astype(np.int32))
        if task.kind == "encode":
            function = wrapped(lambda **x: model(**x, training=False)[0], options)
        else:
            of_loss = self.loss_of(model, training=False)
            function = wrapped(lambda **x: of_loss(x, labels), options)
        return lambda: function(**given)

    def arguments(self, batch: Batch, mask: bool) -> dict[str, tf.Tensor]:
        """Arguments of a model's call; int32, which both libraries take."""
        given = {"input_ids": tf.constant(batch.ids.astype(np.int32))}
        if mask:
            given["attention_mask"] = tf.constant(batch.mask.astype(np.int32))
        return given

    def loss_of(self, model: Any, training: bool) -> Callable[[Any, tf.Tensor], tf.Tensor]:
        """The model's own loss; for TFXLM, which has none, that of Keras over its logits."""
        if self.ours:
            able = "output_logits" in inspect.signature(model.call).parameters
            alone = {"output_logits": False} if able else {}
            return lambda x, y: model(**x, labels=y, training=training, **alone).loss
        keras_loss = self.keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none"
        )

        def loss(x: Any, y: tf.Tensor) -> tf.Tensor:
            counted = tf.cast(y != IGNORED, tf.float32)
            losses = keras_loss(tf.where(y == IGNORED, 0, y), model(**x, training=training).logits)
            return tf.reduce_sum(losses * counted) / tf.reduce_sum(counted)

        return loss

    def generating(self, task: Task, options: dict[str, Any]) -> Callable[[], Any]:
        """Seconds a token: of all new ones but the first, which the prompt pays for."""
        model = self.model(task, options)
        ids = tf.constant(
            batch_of(replace(task, length=options.get("prompt", task.length))).ids.astype(np.int32)
        )
        own = self.library == "xlm_tf"
        given = {"num_beams": options.get("beams", 1), "do_sample": False}
        if not own:
            model.generation_config.eos_token_id = None

        def seconds(tokens: int) -> float:
            start = time.perf_counter()
            model.generate(ids, **given, max_new_tokens=tokens, min_new_tokens=tokens)
            return time.perf_counter() - start

        def run() -> dict[str, float]:
            return {"seconds": (seconds(task.new) - seconds(1)) / (task.new - 1)}

        run()
        return run

    def training(self, task: Task, batch: Batch, options: dict[str, Any]) -> Prepared:
        """One step of AdamW with dropout; compared: a gradient of the first layer, without."""
        model = self.model(task, options)
        given, labels = self.arguments(batch, mask=False), tf.constant(batch.labels, tf.int32)
        few = task.first(COMPARED_SENTENCES)
        first = self.arguments(few, mask=False), tf.constant(few.labels, tf.int32)
        of_loss = self.loss_of(model, training=False)

        def gradient() -> np.ndarray:
            with tf.GradientTape() as tape:
                loss = of_loss(*first)
            kernel = model.transformer.attentions[0].q_lin.kernel
            return tape.gradient(loss, kernel.value if self.ours else kernel)

        step = self.step_of(model, given, labels, options)
        compared = tf.function(gradient)
        return Prepared(step, lambda: compared().numpy().T.astype("float64"), warm=True)

    def step_of(
        self, model: Any, given: dict[str, tf.Tensor], labels: tf.Tensor, options: dict[str, Any]
    ) -> Callable[[], Any]:
        """A step: of ours through Keras, as `fit` takes it; of TFXLM as one tf.function."""
        optimizer = self.adamw(options)
        if self.ours:
            if hasattr(model, "output_logits"):
                model.output_logits = False
            model.compile(optimizer=optimizer)
            return lambda: model.train_on_batch(given | {"labels": labels})
        of_loss = self.loss_of(model, training=True)

        def step(**x: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                loss = of_loss(x, labels)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        model(**given)  # makes the variables
        optimizer.build(model.trainable_variables)
        function = wrapped(step, options)
        return lambda: function(**given).numpy()

    def adamw(self, options: dict[str, Any]) -> Any:
        """Our optimizer, if there is one and Keras' is not asked for."""
        own = getattr(self.package, "AdamW", None) if self.ours else None
        made = self.keras.optimizers.AdamW if options.get("optimizer") == "keras" else own
        return (made or self.keras.optimizers.AdamW)(
            LEARNING_RATE, weight_decay=DECAY, beta_1=BETAS[0], beta_2=BETAS[1], epsilon=EPSILON
        )

    def memory_of_step(self, task: Task, options: dict[str, Any]) -> dict[str, float]:
        """Two steps in a process that did nothing before."""
        libraries = memory_mb("VmRSS")
        model = self.open(HEAD, task, {"random": True})
        batch = batch_of(task)
        labels = tf.constant(batch.labels, tf.int32)
        step = self.step_of(model, self.arguments(batch, mask=False), labels, options)
        reset_peak()
        for _ in range(2):
            step()
        # Parameters, their gradients, and the two moments of AdamW.
        known = 4 * sum(4 * int(np.prod(v.shape)) for v in model.trainable_variables)
        return {"peak_mb": memory_mb(), "known_mb": known / 2**20, "libraries_mb": libraries}


def wrapped(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """As a tf.function, with XLA or without, or as it is."""
    mode = options.get("mode")
    return function if mode is None else tf.function(function, jit_compile=mode == "xla")


SIDE = TensorFlowSide
