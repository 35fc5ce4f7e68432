"""PyTorch: this project, and transformers (4 or 5, as the environment has it)."""

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
import torch

from benchmarks.speed.protocol import Absent, Prepared, Side, memory_mb, reset_peak
from benchmarks.speed.sides import pretraining_torch, updating_torch
from benchmarks.speed.tasks import (
    BETAS,
    COMPARED_SENTENCES,
    DECAY,
    EPSILON,
    LEARNING_RATE,
    Batch,
    Task,
    batch_of,
)

CLASSES = {"encode": "XLMModel"}
HEAD = "XLMWithLMHeadModel"


class TorchSide(Side):
    """`library` is a package with XLMModel and XLMWithLMHeadModel.

    Options: dtype; mode ("compiled", "frozen"); dense (no mask given); plain (our formulas alone);
    packed (our function of that purpose); quantized ("all", or "weights" alone; likewise);
    sentences (only the first).
    """

    def __init__(self, library: str, folder: Path) -> None:
        super().__init__(library, folder)
        self.package = importlib.import_module(library)
        self.models: dict[tuple[str, str], torch.nn.Module] = {}

    def version(self) -> str:
        """The package's, with PyTorch's."""
        own = getattr(self.package, "__version__", "")
        return f"{self.library} {own}".strip() + f", torch {torch.__version__}"

    def forget(self, kinds: Collection[str]) -> None:
        """Models in float32 may stay."""
        torch.compiler.reset()
        kept = {(CLASSES.get(kind, HEAD), "float32") for kind in kinds}
        self.models = {key: model for key, model in self.models.items() if key in kept}

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`."""
        if task.kind == "memory":
            return Prepared(lambda: self.memory_of_step(task))
        if task.kind == "generate":
            return Prepared(self.generating(task, options))
        if task.kind == "update":
            return updating_torch.prepared(task, options.get("optimizer", ""))
        batch = task.first(options["sentences"]) if "sentences" in options else batch_of(task)
        if task.kind == "train":
            return self.training(task, batch, options)
        model = self.model(task, options)
        if task.kind == "pretrain":
            return pretraining_torch.prepared(
                task, model, self.library, options.get("optimizer", "")
            )
        call = self.call_of(task, model, batch, options)

        def run() -> torch.Tensor:
            with torch.inference_mode(), self.plainly(options):
                return call()

        return Prepared(run, lambda: run().double().numpy())

    def model(self, task: Task, options: dict[str, Any]) -> torch.nn.Module:
        """Opened from the folder; or with random weights, where the shape is another."""
        name = CLASSES.get(task.kind, HEAD)
        dtype = options.get("dtype", "float32")
        changes = {key: options[key] for key in ("packed", "quantized") if options.get(key)}
        key = (name, str(changes or dtype) + ", causal" * options.get("causal", False))
        if options.get("random"):
            key = (name, str(task.shape))
        if key not in self.models:
            model = self.open(name, task, options).to(getattr(torch, dtype)).eval()
            self.models[key] = self.changed(model, changes)
        # What is trained is nobody else's.
        trains = task.kind in ("train", "pretrain")
        return self.models.pop(key) if trains else self.models[key]

    def open(self, name: str, task: Task, options: dict[str, Any]) -> torch.nn.Module:
        """As `model`."""
        if not options.get("random"):
            causal = {"causal": True} if options.get("causal") else {}
            return getattr(self.package, name).from_pretrained(self.folder / "torch", **causal)
        torch.manual_seed(0)
        config = self.package.XLMConfig(**task.shape.config())
        return getattr(self.package, name)(config)

    def changed(self, model: torch.nn.Module, changes: dict[str, Any]) -> torch.nn.Module:
        """By the project's own functions, which may work in place."""
        names = {"packed": "pack_weights", "quantized": "quantize"}
        for change, value in changes.items():
            function = getattr(self.package, names[change], None)
            if function is None:
                raise Absent(f"{self.library} has no {names[change]}")
            given = {"activations": False} if value == "weights" else {}
            with torch.no_grad():
                result = function(model, **given)
            model = result if isinstance(result, torch.nn.Module) else model
        return model

    def plainly(self, options: dict[str, Any]) -> Any:
        """Our formulas alone, if asked for."""
        if not options.get("plain"):
            return nullcontext()
        return importlib.import_module(self.library).formulas_only()

    def call_of(
        self, task: Task, model: torch.nn.Module, batch: Batch, options: dict[str, Any]
    ) -> Callable[[], torch.Tensor]:
        """The call that is timed."""
        mode = options.get("mode")
        if mode is not None:
            freezing = {"options": {"freezing": True}} if mode == "frozen" else {}
            model = torch.compile(model, dynamic=False, **freezing)
        given = arguments(batch, task.kind != "encode", mask=not options.get("dense"))
        if task.kind == "encode":
            return lambda: model(**given)[0]
        given |= self.loss_alone(model)
        return lambda: model(**given, return_dict=True).loss

    def loss_alone(self, model: torch.nn.Module) -> dict[str, bool]:
        """Logits are not asked for where a library can do without."""
        able = "output_logits" in inspect.signature(model.forward).parameters
        return {"output_logits": False} if able else {}

    def generating(self, task: Task, options: dict[str, Any]) -> Callable[[], Any]:
        """Seconds a token: of all new ones but the first, which the prompt pays for."""
        model = self.model(task, options)
        ids = torch.from_numpy(
            batch_of(replace(task, length=options.get("prompt", task.length))).ids
        )
        given = {"num_beams": options.get("beams", 1), "do_sample": False}
        if self.library == "xlm_torch":
            given["eos_token_id"] = None
        else:
            model.generation_config.eos_token_id = None
            # transformers 5 caches the keys of this bidirectional model, the appended masks' too,
            # and gives other ids than without.
            given["use_cache"] = options.get("use_cache", False)

        def seconds(tokens: int) -> float:
            start = time.perf_counter()
            with torch.inference_mode():
                model.generate(ids, **given, max_new_tokens=tokens)
            return time.perf_counter() - start

        def run() -> dict[str, float]:
            return {"seconds": (seconds(task.new) - seconds(1)) / (task.new - 1)}

        run()
        return run

    def training(self, task: Task, batch: Batch, options: dict[str, Any]) -> Prepared:
        """One step of AdamW with dropout; compared: a gradient of the first layer, without.

        Gradients are given up at the end of a step, so that none are held while others run.
        """
        model = self.model(task, options)
        given = arguments(batch, True, mask=False) | self.loss_alone(model)
        first = arguments(task.first(COMPARED_SENTENCES), True, mask=False) | self.loss_alone(model)
        optimizer = adamw(model)

        def gradient() -> np.ndarray:
            model.eval()
            with self.plainly(options):
                loss = model(**first).loss
                weight = model.transformer.attentions[0].q_lin.weight
                (found,) = torch.autograd.grad(loss, [weight])
            model.train()
            return found.double().numpy()

        def step() -> None:
            with self.plainly(options):
                model(**given).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return Prepared(step, gradient, warm=True)

    def memory_of_step(self, task: Task) -> dict[str, float]:
        """Two steps in a process that did nothing before."""
        libraries = memory_mb("VmRSS")
        model = self.open(HEAD, task, {"random": True}).train()
        optimizer = adamw(model)
        given = arguments(batch_of(task), True, mask=False) | self.loss_alone(model)
        reset_peak()
        for _ in range(2):
            optimizer.zero_grad()
            model(**given).loss.backward()
            optimizer.step()
        state = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
        parameters = list(model.parameters())
        known = sum(t.nbytes for t in parameters) * 2 + sum(t.nbytes for t in state)
        return {"peak_mb": memory_mb(), "known_mb": known / 2**20, "libraries_mb": libraries}


def adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer, in PyTorch's fused form."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=LEARNING_RATE,
        betas=BETAS,
        eps=EPSILON,
        weight_decay=DECAY,
        fused=True,
    )


def arguments(batch: Batch, labels: bool, mask: bool) -> dict[str, torch.Tensor]:
    """Arguments of a model's call."""
    given = {"input_ids": torch.from_numpy(batch.ids)}
    if mask:
        given["attention_mask"] = torch.from_numpy(batch.mask)
    if labels:
        given["labels"] = torch.from_numpy(batch.labels)
    return given


SIDE = TorchSide
