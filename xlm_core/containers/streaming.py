"""Stream tensors to known offsets of a file, a few blocks in memory at a time."""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from xlm_core.containers.lazy_tensors import BLOCK, LazyTensor, bytes_of, contiguous

Item = TypeVar("Item")
Result = TypeVar("Result")
# Is told, now and then, how many bytes were done since the last time.
Progress = Callable[[int], None]
# Reading, transposing and writing release the interpreter's lock.
THREADS = 2
_BUFFER = 1 << 20
# Where a file can only be written at its one position.
_SEEKING = threading.Lock()


@dataclass(frozen=True)
class Job:
    """A tensor to write in row-major order, and the offset in the file where it begins."""

    offset: int
    tensor: LazyTensor


def fill(descriptor: int, jobs: Sequence[Job], progress: Progress | None = None) -> None:
    """Write tensors to their places in an open file, a few blocks in memory at a time.

    Args:
        descriptor: Descriptor of a file open for writing; bytes between the tensors are kept.
        jobs: What goes where; places must not overlap.
        progress: Called with numbers of bytes, from several threads.

    Raises:
        CheckpointError: If a tensor cannot be read.
        OSError: If the file cannot be written.
    """
    in_parallel(lambda job: _copy(descriptor, job, progress), _pieces(jobs))


def fill_with_checksums(
    descriptor: int, jobs: Sequence[Job], progress: Progress | None = None
) -> list[int]:
    """Write tensors as `fill` does; returns the CRC-32 of each tensor's bytes."""

    def run(job: Job) -> int:
        checksum, offset = 0, job.offset
        for view in _streamed(job.tensor):
            checksum = zlib.crc32(view, checksum)
            offset = _write(descriptor, view, offset)
            if progress:
                progress(len(view))
        return checksum

    return in_parallel(run, jobs)


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Map `function` over `items` on two threads, in order; the first error cancels the rest."""
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _pieces(jobs: Iterable[Job]) -> Iterator[Job]:
    """Split large tensors into several jobs, so that all threads have work until the end."""
    for job in jobs:
        tensor = job.tensor
        if not tensor.shape or tensor.nbytes <= 4 * BLOCK or tensor.is_wide:
            yield job
            continue
        row = tensor.nbytes // tensor.shape[0]
        step = max(1, 4 * BLOCK // row)
        for start in range(0, tensor.shape[0], step):
            part = tensor.part(start, min(start + step, tensor.shape[0]))
            yield Job(job.offset + start * row, part)


def _copy(descriptor: int, job: Job, progress: Progress | None) -> None:
    tensor, offset = job.tensor, job.offset
    if tensor.is_wide and tensor.strides[0] == 1:
        _scatter(descriptor, job, progress)
        return
    for view in _streamed(tensor):
        offset = _write(descriptor, view, offset)
        if progress:
            progress(len(view))


def _streamed(tensor: LazyTensor) -> Iterator[memoryview]:
    """The bytes of a tensor in order; each view is valid until the next one is asked for."""
    if not tensor.is_verbatim:
        yield from map(bytes_of, tensor.blocks())
        return
    # Bytes as they are go through one buffer that stays in the processor's cache.
    buffer = memoryview(bytearray(min(_BUFFER, tensor.nbytes)))
    for start in range(0, tensor.nbytes, _BUFFER):
        part = buffer[: min(_BUFFER, tensor.nbytes - start)]
        tensor.source.read_into(tensor.offset + start, part)
        yield part


def reserve(descriptor: int, size: int) -> None:
    """Set the size of a file and, where the file system supports it, allocate its blocks.

    Raises:
        OSError: If the disk is full.
    """
    os.ftruncate(descriptor, size)
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
                raise


def _scatter(descriptor: int, job: Job, progress: Progress | None) -> None:
    """Write a large matrix that lies transposed in its source: read along, write across."""
    itemsize = job.tensor.nbytes // job.tensor.size
    across = job.tensor.shape[1] * itemsize
    done = 0
    for block in job.tensor.transposed().blocks():
        columns = contiguous(block.T)
        for row, piece in enumerate(columns):
            _write(descriptor, bytes_of(piece), job.offset + row * across + done * itemsize)
        done += len(block)
        if progress:
            progress(columns.nbytes)


def _write(descriptor: int, view: memoryview, offset: int) -> int:
    while view:
        count = _write_some(descriptor, view, offset)
        offset, view = offset + count, view[count:]
    return offset


def _write_some(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, view, offset)
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, view)
