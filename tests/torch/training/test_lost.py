"""Errors that say that another process ended, and others."""

from __future__ import annotations

import pytest
import torch

from xlm_torch.training.lost import lost_process

GLOO = "[/a/third_party/gloo/gloo/transport/tcp/pair.cc:553] "
NCCL = "NCCL error in: /a/NCCLUtils.cpp:77, remote process exited or there was a network error"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (f"{GLOO}Connection closed by peer [127.0.0.1]:8837. This is typically", "]:8837): its"),
        (f"{GLOO}Connection closed by peer [::1]:8837", "(Connection closed by peer [::1]:8837)"),
        (f"{NCCL}, NCCL version 2.26.2", "(remote process exited)"),
        (torch.distributed.DistNetworkError("recv failed:\nlong"), "(recv failed:)"),
    ],
)
def test_a_rank_that_ended(error: str | RuntimeError, said: str) -> None:
    raised = error if isinstance(error, RuntimeError) else RuntimeError(error)
    found = lost_process(raised, processes=2)
    assert found is not None
    assert found.startswith("another process of this run ended")
    assert said in found
    assert lost_process(raised, processes=1) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(pid 9904) is killed by signal: Killed. ", "(pid 9904, killed by signal: Killed)"),
        ("(pid(s) 1, 2) exited unexpectedly", "(pid 1, 2, exited unexpectedly)"),
        (
            "(pid 7) is killed by signal: Bus error. It is possible that dataloader's workers",
            "(pid 7, killed by signal: Bus error)",
        ),
    ],
)
def test_a_reader_that_ended(text: str, said: str) -> None:
    found = lost_process(RuntimeError(f"DataLoader worker {text}"), processes=1)
    assert found is not None
    assert found.startswith(f"a reading process ended {said}: did memory run out, or was a corpus")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("DataLoader worker initialization failed"),
        torch.distributed.DistBackendError("NCCL error: invalid usage"),
        ConnectionResetError("Connection reset by peer"),
        ValueError(GLOO + "x"),
    ],
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert lost_process(error, processes=2) is None
