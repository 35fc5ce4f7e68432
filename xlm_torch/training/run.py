"""A training run: updates of the weights, on one process or several, saved and resumed exactly."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlm_core.errors import CheckpointError, ConfigError, MissingPackageError, TrainingError
from xlm_core.objectives import Batch, TrainingBatches
from xlm_core.objectives.settings import SETTING_NAMES
from xlm_core.training.engine import Update
from xlm_core.training.figures import Tally
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_core.whole_files import folder_written_whole
from xlm_torch.training.losses import WithObjectives
from xlm_torch.training.reading import GlobalBatches, tensors_of

MODEL, OPTIMIZER, STATE = "model", "optimizer.pt", "training.json"


class TrainingRun:
    """Trains a model on global batches.

    The loss of an update is the sum over the labels of all ranks and all accumulated steps,
    divided by their number. The engine is Accelerate: its `Accelerator` decides the device,
    precision, and how the ranks share the model.

    Args:
        model: A language model or an encoder-decoder, in training mode afterwards.
        batches: What to train on.
        optimizer: Of the model's parameters.
        learning_rate: Of each update; None: the optimizer's own.
        accelerator: An `accelerate.Accelerator`; default: a new one.
        clip_grad_norm: Largest norm of all gradients together; 0: any.
        accumulate: Steps of `batches` that make one update.
        mean_of_ranks: Weigh each forward pass alike, as the original does with its GPUs, whatever
            number of labels it has.
        workers: Processes that read; 0: this one does.

    Attributes:
        update: Number of updates made.
        tokens: Read so far, by all ranks.

    Raises:
        ConfigError: If model, tasks and precision do not go together.
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
        clip_grad_norm: float = 0.0,
        accumulate: int = 1,
        mean_of_ranks: bool = False,
        workers: int = 0,
    ) -> None:
        if accumulate < 1:
            raise ConfigError(f"accumulate is {accumulate}: expected a positive whole number.")
        self.accelerator = accelerator or _new_accelerator()
        if self.accelerator.mixed_precision == "fp16" and self.accelerator.device.type == "cpu":
            raise ConfigError("float16 trains on GPUs alone: choose bfloat16 on this CPU.")
        self.model, self.batches = model, batches
        self.learning_rate, self.clip_grad_norm = learning_rate, clip_grad_norm
        self.accumulate, self.mean_of_ranks, self.workers = accumulate, mean_of_ranks, workers
        whole = WithObjectives(model, batches.tasks).train()
        self.wrapped, self.optimizer = self.accelerator.prepare(whole, optimizer)
        self.update = self.tokens = 0
        self._reader: Iterator[list[Batch]] | None = None

    # -- updates -------------------------------------------------------------------------------

    @property
    def ranks(self) -> int:
        """Number of processes that share a global batch."""
        return int(self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return bool(self.accelerator.is_main_process)

    def updates(self, until: int | None = None) -> Iterator[Update]:
        """Make one update for each item taken, until there are `until` in all.

        Raises:
            TrainingError: If a loss is NaN or infinite; the weights are those of before.
        """
        while until is None or self.update < until:
            yield self._next()

    def _next(self) -> Update:
        local = [batch for _ in range(self.accumulate) for batch in next(self._batches())]
        rate = self._set_learning_rate()
        names = [task.name for task in self.batches.tasks]
        # Of each task the sum of losses and the labels; then the tokens. Over all ranks below.
        sums = torch.zeros(2 * len(names) + 1, dtype=torch.float64)
        for batch in local:
            sums[2 * names.index(batch.task.name) + 1] += batch.predicted
            sums[-1] += batch.tokens
        counted = self._over_ranks(sums)
        predicted = float(counted[1:-1:2].sum())
        ranks = self.accelerator.num_processes
        self.optimizer.zero_grad()
        for batch in local:
            loss, labels = self._loss(batch)
            share = 1 / (len(local) * ranks) if self.mean_of_ranks else labels / max(predicted, 1)
            # Gradients are the mean over ranks.
            self.accelerator.backward(loss * (share * ranks if labels else 0.0))
            sums[2 * names.index(batch.task.name)] += float(loss.detach()) * labels
        totals = self._over_ranks(sums)
        losses = {
            name: float(totals[2 * place] / totals[2 * place + 1])
            for place, name in enumerate(names)
            if totals[2 * place + 1]
        }
        if not all(map(math.isfinite, losses.values())):
            bad = [name for name, loss in losses.items() if not math.isfinite(loss)]
            raise TrainingError(
                f"the loss of {', '.join(bad)} is {losses[bad[0]]} in update {self.update}, at a "
                f"learning rate of {rate:.3g}: the weights are those of before. Start again from "
                "the last checkpoint with a smaller learning rate or a longer warm-up."
            )
        norm = None
        if self.clip_grad_norm:
            norm = float(
                self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.clip_grad_norm)
            )
        self.optimizer.step()
        done = Update(self.update, losses, int(predicted), int(counted[-1]), rate, norm)
        self.update += 1
        self.tokens += done.tokens
        return done

    def _loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The mean loss of a batch and its labels; of none, a loss that does not count."""
        labels = batch.predicted
        given = batch if len(batch) else self._substitute(batch)
        tensors = tensors_of(given, self.accelerator.device)
        with self.accelerator.autocast():
            loss: Tensor = self.wrapped(given.task.objective, tensors)
        return (loss if labels else torch.nan_to_num(loss)), labels

    def _substitute(self, batch: Batch) -> Batch:
        """A row in place of none: all ranks have to compute, for their gradients are exchanged."""
        step = self.update * self.accumulate
        parts = self.batches.global_batch(step)
        return next(each for each in parts if each.task == batch.task).rows(0, 1)

    def _batches(self) -> Iterator[list[Batch]]:
        if self._reader is None:
            dataset = GlobalBatches(
                self.batches,
                self.update * self.accumulate,
                rank=self.accelerator.process_index,
                ranks=self.accelerator.num_processes,
                whole_parts=False,
            )
            # A generator of its own: it would draw from that of dropout, once for each start.
            loader = torch.utils.data.DataLoader(
                dataset, batch_size=None, num_workers=self.workers, generator=torch.Generator()
            )
            self._reader = iter(loader)
        return self._reader

    def _set_learning_rate(self) -> float:
        if self.learning_rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate.at(self.update)
        return float(self.optimizer.param_groups[0]["lr"])

    def _over_ranks(self, sums: Tensor) -> Tensor:
        if self.accelerator.num_processes == 1:
            return sums
        return self.accelerator.reduce(sums.to(self.accelerator.device), "sum").cpu()

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Tally:
        """Sums over batches without dropout: every rank takes its turn, all get the whole."""
        rank, ranks = self.accelerator.process_index, self.ranks
        sums = torch.zeros(3, dtype=torch.float64)
        self.wrapped.eval()
        try:
            for place, batch in enumerate(batches):
                if place % ranks == rank:
                    sums += self._scored(batch)
        finally:
            self.wrapped.train()
        loss, predicted, correct = self._over_ranks(sums).tolist()
        return Tally(loss, int(predicted), int(correct))

    def _scored(self, batch: Batch) -> Tensor:
        """Sum of losses, labels, and how many of them had the highest logit."""
        tensors = tensors_of(batch, self.accelerator.device)
        with self.accelerator.autocast():
            loss, logits = self.accelerator.unwrap_model(self.wrapped).scores(
                batch.task.objective, tensors
            )
        labels = tensors["labels"]
        chosen = labels != -100
        correct = (logits.argmax(-1)[chosen] == labels[chosen]).sum()
        predicted = int(chosen.sum())
        values = [float(loss) * predicted if predicted else 0.0, predicted, int(correct)]
        return torch.tensor(values, dtype=torch.float64)

    # -- checkpoints ---------------------------------------------------------------------------

    def save_model(self, folder: str | os.PathLike[str]) -> None:
        """Write the model alone, as `save_pretrained` does."""
        from torch.distributed.checkpoint import state_dict as states

        options = states.StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = states.get_model_state_dict(self.wrapped, options=options)
        if self.is_main:
            own = {name.removeprefix("model."): x for name, x in weights.items()}
            self._plain_model().save_pretrained(folder, state_dict=own)
        self.accelerator.wait_for_everyone()

    def save(self, folder: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        """Write a folder from which the run goes on exactly: whole, or not at all.

        It holds the model as `save_pretrained` writes it, under `model`, the optimizer's state and
        that of random numbers. Every rank has to call it.

        Args:
            folder: Replaced if it exists.
            state: What the caller wants back, as JSON holds it.
        """
        from torch.distributed.checkpoint import state_dict as states

        options = states.StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights, optimizer = states.get_state_dict(
            self.wrapped, self._inner_optimizer(), options=options
        )
        random = [self._gathered(x) for x in self._random_states()]
        if self.accelerator.is_main_process:
            target = Path(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            with folder_written_whole(target) as temporary:
                own = {name.removeprefix("model."): x for name, x in weights.items()}
                self._plain_model().save_pretrained(temporary / MODEL, state_dict=own)
                torch.save({"optimizer": optimizer, "random": random}, temporary / OPTIMIZER)
                text = json.dumps({**self._state(), "caller": dict(state or {})}, indent=2) + "\n"
                (temporary / STATE).write_text(text, encoding="utf-8")
        self.accelerator.wait_for_everyone()

    def resume(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from a folder that `save` wrote.

        Returns:
            The caller's state.

        Raises:
            CheckpointError: If it is damaged, or of another run.
        """
        from torch.distributed.checkpoint import state_dict as states

        source = Path(folder)
        try:
            state = json.loads((source / STATE).read_text(encoding="utf-8"))
            kept = torch.load(source / OPTIMIZER, map_location="cpu", weights_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{source} is no checkpoint of a run: {error}.") from error
        expected = {**self._state(), "update": state["update"], "tokens": state["tokens"]}
        differing = sorted(n for n in expected if expected[n] != state.get(n))
        if differing:
            found = ", ".join(f"{n} {state.get(n)!r} (here {expected[n]!r})" for n in differing)
            raise CheckpointError(f"{source} is of another run: {found}.")
        opened = type(self._plain_model()).from_pretrained(source / MODEL, dtype="auto")
        weights = {f"model.{name}": x for name, x in opened.state_dict().items()}
        states.set_state_dict(
            self.wrapped,
            self._inner_optimizer(),
            model_state_dict=weights,
            optim_state_dict=kept["optimizer"],
            options=states.StateDictOptions(full_state_dict=True),
        )
        self.update, self.tokens, self._reader = state["update"], state["tokens"], None
        for place, values in enumerate(kept["random"]):
            own = values[self.accelerator.process_index].clone()  # PyTorch reads from its start
            (torch.cuda.set_rng_state if place else torch.set_rng_state)(own)
        return dict(state.get("caller", {}))

    def _state(self) -> dict[str, Any]:
        return {
            "update": self.update,
            "tokens": self.tokens,
            "seed": self.batches.seed,
            "tasks": [task.name for task in self.batches.tasks],
            "accumulate": self.accumulate,
            "ranks": self.accelerator.num_processes,
            "settings": {n: getattr(self.batches.settings, n) for n in SETTING_NAMES},
        }

    def _inner_optimizer(self) -> torch.optim.Optimizer:
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _plain_model(self) -> Any:
        return self.accelerator.unwrap_model(self.wrapped).model

    def _random_states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self.accelerator.device.type == "cuda":
            states.append(torch.cuda.get_rng_state())
        return states

    def _gathered(self, state: Tensor) -> Tensor:
        """The states of all ranks, uint8, shape (ranks, size)."""
        if self.accelerator.num_processes == 1:
            return state[None]
        gathered: Tensor = self.accelerator.gather(state[None].to(self.accelerator.device))
        return gathered.cpu()


def _new_accelerator() -> Any:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError as error:
        raise MissingPackageError(
            "training needs accelerate, which is not installed: pip install 'xlm-parity[train]'."
        ) from error
    # Steps of different tasks leave parameters of others without a gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(kwargs_handlers=[unused])
