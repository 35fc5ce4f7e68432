"""Processes that read the batches of a run, and outlive what asks it to stop."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader

from xlm_core.objectives import Batch
from xlm_torch.training.reading import GlobalBatches

# Which torchrun, or a terminal that is closed, sends to every process: the run saves first.
_HELD = {x for x in (signal.SIGTERM, getattr(signal, "SIGHUP", None)) if x is not None}


def start_reading(dataset: GlobalBatches, workers: int) -> Iterator[list[Batch]]:
    """The steps of a run in order, read by this process or by `workers` others.

    The readers outlive what asks a run to stop: it saves first, however long that takes.
    """
    # A generator of its own: it would draw from that of dropout, once for each start.
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),
        worker_init_fn=functools.partial(_leave_signals, os.getpid()),
    )
    if workers and hasattr(signal, "sigwaitinfo"):
        from multiprocessing import forkserver, resource_tracker

        # Before: the tracker lets SIGTERM through again when it starts, and what a fork server is
        # started with, all processes of this one would inherit, which could not be terminated.
        method = multiprocessing.get_start_method()
        if method != "fork":
            resource_tracker.ensure_running()
        if method == "forkserver":
            forkserver.ensure_running()
    # Readers inherit those, with all the threads that they start. And the DataLoader's own
    # number is drawn on the CPU, whatever the default device is, as its generator is there.
    with _held_back(), torch.device("cpu"):
        return iter(loader)


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold back what would be a SIGTERM or SIGHUP of this thread until the block's end."""
    if not hasattr(signal, "sigwaitinfo"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals(run: int, _: int) -> None:
    """Leave to the run what asks it to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        threading.Thread(target=_end_when_run_says, args=(run,), daemon=True).start()


def _end_when_run_says(run: int) -> None:
    """End this reader, as PyTorch's do, at a SIGTERM of its run; those of others are left out."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:  # no parent, with a fork server
        pass
    os._exit(0)
