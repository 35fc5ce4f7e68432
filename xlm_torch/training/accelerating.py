"""The engine of a run: an Accelerator of Accelerate, and what one must not do."""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch

from xlm_core.distribution import install_command
from xlm_core.errors import ConfigError, MissingPackageError, nearest
from xlm_core.training.config import PRECISIONS

NOT_ON_CPUS = "float16 trains on GPUs alone: choose bfloat16 on this CPU."


def accelerator_of(precision: str = "float32", *, find_unused_parameters: bool = True) -> Any:
    """An `accelerate.Accelerator` for training on the tasks of XLM.

    Args:
        precision: "float32" or "float64", in which weights have to be; or what products are
            computed in beside weights in float32: "bfloat16", or on GPUs "float16".
        find_unused_parameters: Whether several processes look in each step for parameters without
            a gradient: steps of different tasks leave those of others without one. Where every
            task uses all, PyTorch warns of looking.

    Raises:
        ConfigError: For an unknown precision, float16 on a CPU, or if this process trains in
            another precision already.
        MissingPackageError: If Accelerate is not installed.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"precision is {precision!r}: expected one of {', '.join(PRECISIONS)}."
            f"{nearest(precision, PRECISIONS)}"
        )
    has_gpu = torch.accelerator.is_available()
    # Before Accelerate, which holds this process to the first precision that it was asked for.
    if precision == "float16" and not has_gpu:
        raise ConfigError(NOT_ON_CPUS)
    try:
        import accelerate
    except ImportError as error:
        raise MissingPackageError(
            f"training needs accelerate, which is not installed: {install_command('train')}."
        ) from error
    unused = accelerate.DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)
    options: dict[str, Any] = {"kwargs_handlers": [unused]}
    if not has_gpu:
        options["cpu"] = True  # else it would leave several processes alone
    mixed = {"bfloat16": "bf16", "float16": "fp16"}.get(precision, "no")
    try:
        made = accelerate.Accelerator(mixed_precision=mixed, **options)
    except ValueError as error:
        if "already been initialized" not in str(error):
            raise ConfigError(
                "Accelerate cannot start with the environment of this process (LOCAL_RANK, "
                "WORLD_SIZE, MASTER_ADDR and others, which torchrun sets; ACCELERATE_*): unset "
                f"what is left over, or start with torchrun. ({error})"
            ) from error
        raise ConfigError(
            f"this process trains in another precision already, and not in {precision}: use one "
            f"process for each. ({error})"
        ) from error
    if made.num_processes > 1:
        atexit.unregister(_leave_gloo)  # once
        atexit.register(_leave_gloo)
    return made


def _leave_gloo() -> None:
    """Leave the group of processes while Python still runs, which gloo's threads outlive badly.

    Else a process that has done its work may end by SIGABRT, where cores are busy. NCCL, which
    would wait for others, is left as PyTorch leaves it.
    """
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_backend() == "gloo":
        group.destroy_process_group()


def check_accelerator(accelerator: Any, parallel: str) -> None:
    """Raise `ConfigError` if an Accelerator would change updates, or leaves processes alone."""
    if accelerator.gradient_accumulation_steps != 1:
        raise ConfigError(
            "the Accelerator accumulates gradients (gradient_accumulation_steps = "
            f"{accelerator.gradient_accumulation_steps}), by which it would divide every "
            "loss: leave it out, and give accumulate= here."
        )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError(NOT_ON_CPUS)
    if accelerator.num_processes != _started():
        raise ConfigError(
            f"{_started()} processes were started (WORLD_SIZE), and Accelerate makes "
            f"{accelerator.num_processes} of them train together: give the Accelerator cpu=True if "
            "there is no GPU, or use accelerator_of."
        )
    kind = kind_of(accelerator)
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise ConfigError(
            f"Accelerate was started for {kind}: expected copies of a model. Shards are "
            'parallel="fsdp" of this library.'
        )
    if parallel == "fsdp" and accelerator.mixed_precision == "fp16":
        raise ConfigError("shards do not train in float16: choose bfloat16, or copies.")


def kind_of(accelerator: Any) -> str:
    """How processes train together, as Accelerate calls it; "NO" where one trains alone."""
    return str(getattr(accelerator.distributed_type, "value", ""))


def _started() -> int:
    """Number of processes that the launcher started."""
    found = os.environ.get("WORLD_SIZE", "1")
    try:
        return int(found)
    except ValueError:
        raise ConfigError(f"WORLD_SIZE is {found!r:.40}: expected a number of processes.") from None
