"""A training run: updates of the weights, on one process or several, saved and resumed exactly."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xlm_core.errors import CheckpointError, ConfigError, TrainingError, XLMWarning
from xlm_core.objectives import Batch, TrainingBatches
from xlm_core.objectives.agreement import check_made_for
from xlm_core.objectives.batch import pieces
from xlm_core.objectives.randomness import generator_of
from xlm_core.training.config import PARALLELS
from xlm_core.training.engine import (
    LOWEST_LOSS_SCALE,
    Update,
    check_accumulate,
    check_clip_grad_norm,
    check_learning_rate,
    warn_of_other_ranks,
)
from xlm_core.training.figures import Tally
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_core.training.main_rank import write_on_main
from xlm_core.training.moments import moments_to_take, text_of_taken
from xlm_core.training.saved import RANDOM, read_run, run_written_whole, state_of
from xlm_torch.optimizers import OriginalAdam, refuse_sparse
from xlm_torch.pretrained import tensor_of
from xlm_torch.training.accelerating import accelerator_of, check_accelerator, kind_of
from xlm_torch.training.clipping import clip_gradients
from xlm_torch.training.losses import WithObjectives
from xlm_torch.training.lost import lost_process
from xlm_torch.training.reading import GlobalBatches, tensors_of
from xlm_torch.training.reading_processes import start_reading
from xlm_torch.training.sharding import shard
from xlm_torch.training.states import (
    check_optimizer_class,
    check_optimizer_state,
    fill,
    fill_optimizer,
    hyperparameters_of,
    lazy_tensors,
    optimizer_state,
    whole,
)
from xlm_torch.training.trainable import check_trainable
from xlm_torch.training.unused import leaves_unused

# Bytes of logits that an evaluation makes at a time.
LOGITS_OF_EVALUATION = 2**28


class TrainingRun:
    """Trains a model on global batches.

    The loss of an update is the sum over the labels of all ranks and all accumulated steps,
    divided by their number. The engine is Accelerate: its `Accelerator` decides device, precision
    and ranks, which have copies of the model (DistributedDataParallel), or shards (`fully_shard`).
    Dropout is drawn from the seed of `batches` and the rank.

    Args:
        model: A language model or an encoder-decoder, in training mode afterwards; its weights in
            float32 or float64, whatever precision it computes in.
        batches: What to train on.
        optimizer: Of all parameters of the model that require gradients. Others are left alone.
        learning_rate: Of each update; None: the optimizer's own.
        accelerator: An `accelerate.Accelerator`; default: that of `accelerator_of`, which looks
            for unused parameters if tasks leave some.
        precision: Of that default.
        clip_grad_norm: Largest norm of all gradients together; 0: any.
        accumulate: Steps of `batches` that make one update.
        mean_of_ranks: Take the mean of the parts' mean losses, whatever numbers of labels they
            have, as the original does, where each GPU has one. With a number of parts that does
            not divide among the ranks, the mean over what each rank has of each part.
        workers: Processes that read; 0: this one does.
        parallel: What each of several processes has: "ddp", a copy of the model; "fsdp", a shard
            of it, see `xlm_torch.training.sharding`.

    Attributes:
        update: Number of updates made.
        tokens: Read so far, by all ranks.
        updates_before: Those of a run of the original that this one goes on from: the learning
            rate counts them.
        notes: What is to be said of how the run begins.

    Raises:
        ConfigError: If model, tasks, optimizer and precision do not go together.
        MissingPackageError: If Accelerate is not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: TrainingBatches,
        optimizer: torch.optim.Optimizer,
        *,
        learning_rate: InverseSquareRoot | None = None,
        accelerator: Any = None,
        precision: str = "float32",
        clip_grad_norm: float = 0.0,
        accumulate: int = 1,
        mean_of_ranks: bool = False,
        workers: int = 0,
        parallel: str = "ddp",
    ) -> None:
        if parallel not in PARALLELS:
            raise ConfigError(f"parallel is {parallel!r}: expected one of {', '.join(PARALLELS)}.")
        check_accumulate(accumulate)
        check_clip_grad_norm(clip_grad_norm)
        check_learning_rate(learning_rate)
        with_objectives = WithObjectives(model, batches.tasks).train()
        config: Any = model.config
        check_made_for(batches.config, config, batches.tasks)
        if accelerator is None:
            accelerator = accelerator_of(precision, find_unused_parameters=False)
            # One process alone exchanges no gradients; by a launcher (torchrun's and MPI's say so
            # each in its way), on a CPU, it has a copy too.
            if kind_of(accelerator) != "NO":
                unused = leaves_unused(with_objectives, batches.tasks)
                accelerator.ddp_handler.find_unused_parameters = unused
            if precision == "float64" and model.dtype != torch.float64:
                raise ConfigError(
                    f"precision is float64, and the weights are {model.dtype}: call model.double()."
                )
        check_accelerator(accelerator, parallel)
        self.accelerator = accelerator
        self.model: Any = model
        self.batches = batches
        self.learning_rate, self.clip_grad_norm = learning_rate, clip_grad_norm
        self.accumulate, self.mean_of_ranks, self.workers = accumulate, mean_of_ranks, workers
        check_trainable(self.model, optimizer)
        self._hyperparameters = hyperparameters_of(optimizer)
        self.is_sharded = parallel == "fsdp" and self.ranks > 1
        if self.is_sharded:
            shard(with_objectives, optimizer, ranks=self.ranks, device=self.accelerator.device)
            self.wrapped: Any = with_objectives
            self.optimizer = self.accelerator.prepare(optimizer)
        else:
            self.wrapped, self.optimizer = self.accelerator.prepare(with_objectives, optimizer)
        # Where parameters are sharded, others stand in their place now.
        self._names = {p: name for name, p in self.model.named_parameters()}
        self.update = self.tokens = self.updates_before = 0
        # Whether an update has begun to change weights, and has not ended.
        self._is_changing = False
        # Updates that float16 left out: as in the original, the learning rate does not count them.
        self._skipped = 0
        self.notes: tuple[str, ...] = ()
        self._reader: Iterator[list[Batch]] | None = None
        rank = self.accelerator.process_index
        torch.manual_seed(int(generator_of(batches.seed, "dropout", rank).integers(2**63)))

    # -- updates -------------------------------------------------------------------------------

    @property
    def ranks(self) -> int:
        """Number of processes that share a global batch."""
        return int(self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return bool(self.accelerator.is_main_process)

    def of_all_ranks(self, value: float) -> list[float]:
        """The value of every rank, in their order: every rank has to call it."""
        if self.ranks == 1:
            return [float(value)]
        own = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        gathered: list[float] = self.accelerator.gather(own).tolist()
        return gathered

    def lost_process(self, error: BaseException) -> str | None:
        """What an error says of another process that ended; None: it is about something else."""
        return lost_process(error, processes=self.ranks)

    def updates(self, until: int | None = None) -> Iterator[Update]:
        """Make one update for each item taken, until there are `until` in all.

        Raises:
            TrainingError: If a loss or a gradient is NaN or infinite; the weights are those of
                before. After an update that was interrupted (Ctrl-C) while it changed weights.
        """
        while until is None or self.update < until:
            yield self._next()

    def go_to(self, update: int) -> None:
        """Make update `update` next; weights stay."""
        self.update, self._reader = update, None

    def _next(self) -> Update:
        self._check_whole()
        # Kept once the update is made: after an error it would be ahead of the updates.
        reader, self._reader = self._batches(), None
        local = [batch for _ in range(self.accumulate) for batch in next(reader)]
        rate = self._set_learning_rate()
        # Of each forward pass labels, whether there are any, and tokens.
        own = torch.tensor(
            [[b.predicted, b.predicted > 0, b.tokens] for b in local],
            dtype=torch.float64,
            device="cpu",
        )
        counts = self._over_ranks(own)
        shares = self._shares(own, counts).tolist()
        # Accelerate keeps these for the whole process: a loop that accumulated and was left half
        # way would keep this optimizer from changing anything.
        self.accelerator.sync_gradients = True
        steps = self.accelerator.gradient_accumulation_steps  # which `backward` divides by
        self.optimizer.zero_grad()
        losses = []
        for place, (batch, share) in enumerate(zip(local, shares, strict=True)):
            with self._exchanging(place == len(local) - 1):
                loss = self._loss(batch)
                # Gradients are the mean over ranks.
                self.accelerator.backward(loss * (share * self.ranks * steps))
            losses.append(loss.detach())
        sums = self._over_ranks(torch.stack(losses).cpu().double() * own[:, 0])
        means = self._means(local, sums, counts[:, 0])
        self._check_finite(means, rate)
        norm = self._clip(means, rate)
        self._is_changing = True
        self.optimizer.step()
        number, tokens = self.update, int(counts[:, 2].sum())
        self.update, self.tokens, self._is_changing = number + 1, self.tokens + tokens, False
        self._skipped += int(self.optimizer.step_was_skipped)
        done = Update(
            number=number,
            losses=means,
            predicted=int(counts[:, 0].sum()),
            tokens=tokens,
            learning_rate=rate,
            gradient_norm=norm if self.clip_grad_norm else None,
        )
        self._reader = reader
        return done

    def _check_whole(self) -> None:
        if self._is_changing:
            raise TrainingError(
                f"update {self.update + 1} was interrupted while it changed the weights, of which "
                "some may be changed and others not: resume() from the last checkpoint."
            )

    def _shares(self, own: Tensor, counts: Tensor) -> Tensor:
        """How much the mean loss of each forward pass of this rank counts, shape (passes,)."""
        if not self.mean_of_ranks:
            return own[:, 0] / counts[:, 0].sum().clamp(min=1)
        if self.batches.settings.parts % self.ranks == 0:
            return own[:, 0] / counts[:, 0].clamp(min=1) / (counts[:, 1] > 0).sum().clamp(min=1)
        return own[:, 1] / counts[:, 1].sum().clamp(min=1)

    def _exchanging(self, last: bool) -> Any:
        """Ranks exchange their gradients once an update: behind the `last` backward pass."""
        if self.is_sharded:
            self.wrapped.set_requires_gradient_sync(last)
        return nullcontext() if last or self.is_sharded else self.accelerator.no_sync(self.wrapped)

    def _loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch; of one without labels, a loss to be counted with weight 0."""
        tensors = tensors_of(batch, self.accelerator.device)
        with self.accelerator.autocast():
            loss: Tensor = self.wrapped(batch.task.objective, tensors)
        return loss

    def _means(self, local: list[Batch], sums: Tensor, labels: Tensor) -> dict[str, float]:
        """The mean loss of each task."""
        means = {}
        for task in self.batches.tasks:
            chosen = torch.tensor([batch.task == task for batch in local], device="cpu")
            if number := float(labels[chosen].sum()):
                means[task.name] = float(sums[chosen].sum()) / number
        return means

    def _check_finite(self, losses: Mapping[str, float], rate: float) -> None:
        bad = [name for name, loss in losses.items() if not math.isfinite(loss)]
        if bad:
            self._give_up(f"the loss of {', '.join(bad)} is {losses[bad[0]]}", rate)
        scaler = self.accelerator.scaler
        if scaler is not None and scaler.get_scale() < LOWEST_LOSS_SCALE:
            self._give_up("gradients are not finite in float16, whatever the loss's scale", rate)

    def _clip(self, losses: Mapping[str, float], rate: float) -> float:
        """Clip the gradients' norm; returns what it was."""
        self.accelerator.unscale_gradients()
        parameters = [p for p in self._names if p.grad is not None]
        refuse_sparse(parameters)
        norm = clip_gradients(parameters, self.clip_grad_norm, over_ranks=self._over_ranks)
        # Where the loss is scaled, the optimizer leaves out an update that is not finite.
        if not math.isfinite(norm) and self.accelerator.scaler is None:
            self._give_up(
                f"the norm of the gradients is {norm}, at a loss of "
                + ", ".join(f"{loss:.4g} ({name})" for name, loss in losses.items()),
                rate,
            )
        return norm

    def _give_up(self, found: str, rate: float) -> None:
        self.optimizer.zero_grad()
        raise TrainingError(
            f"{found}, in update {self.update + 1}, at a learning rate of {rate:.3g}: the weights "
            "are those of before. The learning rate may be too high, or the warm-up too short."
        )

    def _batches(self) -> Iterator[list[Batch]]:
        if self._reader is None:
            dataset = GlobalBatches(
                self.batches,
                self.update * self.accumulate,
                rank=self.accelerator.process_index,
                ranks=self.ranks,
                whole_parts=False,
            )
            self._reader = start_reading(dataset, self.workers)
        return self._reader

    def _set_learning_rate(self) -> float:
        if self.learning_rate is not None:
            for group in self.optimizer.param_groups:
                made = self.updates_before + self.update - self._skipped
                group["lr"] = self.learning_rate.at(made)
        return float(self.optimizer.param_groups[0]["lr"])

    def _over_ranks(self, sums: Tensor) -> Tensor:
        if self.ranks == 1:
            return sums
        reduced: Tensor = self.accelerator.reduce(sums.to(self.accelerator.device), "sum")
        return reduced.cpu()

    # -- evaluation ----------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Tally:
        """Sums over batches without dropout: every rank has rows of each, all get the whole."""
        sums = torch.zeros(3, dtype=torch.float64, device="cpu")
        self.wrapped.eval()
        try:
            for batch in batches:
                # The same number of pieces on every rank: all call the model together.
                size = 4 * batch.labels.size * self.model.config.vocab_size
                number = max(1, -(-size // (self.ranks * LOGITS_OF_EVALUATION)))
                bounds = pieces(len(batch), self.ranks * number)
                mine = self.accelerator.process_index * number
                for first, end in bounds[mine : mine + number]:
                    sums += self._scored(batch.rows(first, end))
        finally:
            self.wrapped.train()
        loss, predicted, correct = self._over_ranks(sums).tolist()
        return Tally(loss, int(predicted), int(correct))

    def _scored(self, batch: Batch) -> Tensor:
        """Sum of losses, labels, and how many of them had the highest logit."""
        tensors = tensors_of(batch, self.accelerator.device)
        with self.accelerator.autocast():
            loss, logits = self.wrapped(batch.task.objective, tensors, output_logits=True)
        labels = tensors["labels"]
        chosen = labels != -100
        correct = (logits.argmax(-1)[chosen] == labels[chosen]).sum()
        values = [float(loss) * batch.predicted, batch.predicted, int(correct)]
        counted = values if batch.predicted else [0, 0, 0]
        return torch.tensor(counted, dtype=torch.float64, device="cpu")

    # -- checkpoints ---------------------------------------------------------------------------

    def save_model(self, folder: str | os.PathLike[str]) -> None:
        """Write the model alone, as `save_pretrained` does: every rank has to call it."""
        weights = self._weights()
        write_on_main(self, lambda: self.model.save_pretrained(folder, state_dict=weights))

    def save(
        self,
        folder: str | os.PathLike[str],
        state: Mapping[str, Any] | None = None,
        *,
        add_to_model: Callable[[Path], object] | None = None,
    ) -> None:
        """Write a folder from which the run goes on exactly: whole, or not at all.

        It holds the model as `save_pretrained` writes it, under `model`, the optimizer's state and
        that of random numbers. Every rank has to call it.

        Args:
            folder: Replaced if it exists.
            state: What the caller wants back, as JSON holds it.
            add_to_model: Writes into the model's folder what belongs beside it, on the main rank.

        Raises:
            CheckpointError: On every rank, if it cannot be written.
            TrainingError: As `updates`, after an update that was interrupted.
        """
        self._check_whole()
        weights = self._weights()
        # Every rank takes part, and the one that writes holds the whole.
        tensors, optimizer = optimizer_state(
            self._inner_optimizer(), self._names, kept=self.is_main
        )
        for name, value in self._random_states().items():
            tensors[RANDOM + name] = self._gathered(value)
        scaler = self.accelerator.scaler
        described = {
            **self._state(),
            "update": self.update,
            "tokens": self.tokens,
            "updates_before": self.updates_before,
            "skipped": self._skipped,
            "ranks": self.ranks,
            "optimizer": optimizer,
            "loss_scale": None if scaler is None else scaler.state_dict(),
            "caller": dict(state or {}),
        }

        def write() -> None:
            with run_written_whole(folder, described, lazy_tensors(tensors)) as model:
                self.model.save_pretrained(model, state_dict=weights)
                if add_to_model is not None:
                    add_to_model(model)

        write_on_main(self, write)

    def resume(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from a folder that `save` wrote.

        With another number of ranks, batches and weights go on as they would have, and dropout is
        drawn anew by ranks that there were not: with a warning.

        Returns:
            The caller's state.

        Raises:
            CheckpointError: If it is damaged, or of another run; the run is as it was.
        """
        saved = read_run(folder)
        names, inner = self._names, self._inner_optimizer()
        described = saved.state.get("optimizer")
        if not isinstance(described, dict):
            raise CheckpointError(f"{saved.folder} is damaged: it has no state of an optimizer.")
        check_optimizer_class(inner, described, saved.folder)
        saved.check_same(self._state())
        optimizer = {n: x for n, x in saved.tensors.items() if not n.startswith(RANDOM)}
        check_optimizer_state(inner, names, optimizer, described, saved.folder)
        opened = type(self.model).from_pretrained(saved.folder / "model", dtype="auto")
        weights = dict(opened.named_parameters())
        for parameter, name in names.items():
            if name not in weights or weights[name].shape != parameter.shape:
                raise CheckpointError(f"{saved.folder} is of another model: {name} differs.")
            # Of several dtypes, which frozen weights may make, all were opened as float32.
            if parameter.requires_grad and weights[name].dtype != parameter.dtype:
                raise CheckpointError(
                    f"{saved.folder} is of a run whose weights are {weights[name].dtype}, and here "
                    f"they are {parameter.dtype}: {name}."
                )
        if self.is_sharded:
            self.wrapped.reshard()  # or what an evaluation left whole would go on
        for parameter, name in names.items():
            fill(parameter, weights[name])
        fill_optimizer(inner, names, optimizer, described)
        self.update, self.tokens = saved.state["update"], saved.state["tokens"]
        self.updates_before = saved.state["updates_before"]
        self._skipped = int(saved.state.get("skipped") or 0)
        self._reader, self._is_changing = None, False
        if self.accelerator.scaler is not None and saved.state.get("loss_scale"):
            self.accelerator.scaler.load_state_dict(saved.state["loss_scale"])
        self._resume_random(saved.state.get("ranks"), saved.tensors)
        return dict(saved.state.get("caller") or {})

    def take_original_adam(self, path: str | os.PathLike[str], *, match: str = "all") -> str:
        """Go on with the moments of a training checkpoint of the original, and its learning rate.

        Weights are not looked at: the model was started from the same checkpoint. What Adam does
        not know there starts afresh: parameters that were never updated, other sizes.

        Args:
            path: Of any checkpoint.
            match: How the model was started from it. With "words", the rows of words and of
                languages were copied by name, and what Adam knows of them starts afresh.

        Returns:
            What was taken, in words; "" of a checkpoint that is none of the original's. Of one
            that has none, this is a warning too.

        Raises:
            CheckpointError: If it is damaged.
        """
        inner = self._inner_optimizer()
        moments, why = moments_to_take(
            path, match=match, is_original_adam=isinstance(inner, OriginalAdam)
        )
        if moments is None:
            return why
        taken = 0
        trained = {x: name for x, name in self._names.items() if x.requires_grad}
        for parameter, name in trained.items():
            if moments.steps.get(name) and moments.first[name].shape == tuple(parameter.shape):
                state = inner.state[parameter]
                state["step"] = moments.steps[name]
                for key, of in (("exp_avg", moments.first), ("exp_avg_sq", moments.second)):
                    state[key] = torch.zeros_like(parameter).detach()
                    fill(state[key], tensor_of(of[name].read()).to(parameter.dtype))
                taken += 1
        self.updates_before = moments.updates or 0
        behind = self.updates_before if self.learning_rate is not None else 0
        return text_of_taken(path, taken, len(trained), updates_before=behind)

    def _state(self) -> dict[str, Any]:
        return state_of(
            self.batches,
            accumulate=self.accumulate,
            mean_of_ranks=self.mean_of_ranks,
            clip_grad_norm=self.clip_grad_norm,
            hyperparameters=self._hyperparameters,
            learning_rate=self.learning_rate,
        )

    def _weights(self) -> dict[str, Tensor]:
        reshard = getattr(self.wrapped, "reshard", None)
        if reshard is not None:  # what an evaluation left whole
            reshard()
        return {name: whole(x, kept=self.is_main) for x, name in self._names.items()}

    def _inner_optimizer(self) -> torch.optim.Optimizer:
        return getattr(self.optimizer, "optimizer", self.optimizer)

    # -- random numbers ------------------------------------------------------------------------

    def _random_states(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self.accelerator.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.accelerator.device)
        return states

    def _resume_random(self, ranks: Any, tensors: Mapping[str, Any]) -> None:
        warn_of_other_ranks(ranks, self.ranks)
        rank = self.accelerator.process_index
        for name, own in self._random_states().items():
            kept = tensors.get(RANDOM + name)
            if kept is None or kept.dtype != "uint8" or kept.shape[1:] != tuple(own.shape):
                warnings.warn(
                    f"the checkpoint has no random numbers of this {name}: dropout is drawn anew.",
                    XLMWarning,
                    stacklevel=3,
                )
            elif rank < kept.shape[0]:
                state = torch.from_numpy(np.array(kept.read()[rank]))
                if name == "cuda":
                    torch.cuda.set_rng_state(state, self.accelerator.device)
                else:
                    torch.set_rng_state(state)

    def _gathered(self, state: Tensor) -> Tensor:
        """The states of all ranks, uint8, shape (ranks, size)."""
        if self.ranks == 1:
            return state[None]
        gathered: Tensor = self.accelerator.gather(state[None].to(self.accelerator.device))
        return gathered.cpu()
