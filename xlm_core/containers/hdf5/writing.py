"""Write HDF5: h5py lays the file out, then the tensors stream to their places."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xlm_core.containers.lazy_tensors import DTYPES, LazyTensor
from xlm_core.containers.streaming import Job, Progress, fill, reserve

if TYPE_CHECKING:
    import h5py

# Attributes are kept in the header of their group, which HDF5 limits.
_LARGEST_ATTRIBUTE = 64512
_LEAST_SPACE = 1 << 20


def write_hdf5(
    path: Path,
    datasets: Mapping[str, LazyTensor],
    attributes: Mapping[str, Mapping[str, Any]],
    progress: Progress | None = None,
) -> None:
    """Write a file.

    Args:
        path: The file; replaced if it exists.
        datasets: Path in the file -> tensor, row-major as it shall lie there. bfloat16 is
            written as Keras 3 does: opaque, with an attribute that says so.
        attributes: Path of a group ("" is the root; made if needed) -> name -> text, list of
            texts, or number.
        progress: Called with numbers of bytes, from several threads.
    """
    try:
        jobs = _laid_out(path, datasets, attributes)
    except RuntimeError as error:  # what HDF5 makes of a disk that is full when it closes a file
        full = shutil.disk_usage(path.parent).free < _LEAST_SPACE
        code = errno.ENOSPC if full else errno.EIO
        raise OSError(code, f"{os.strerror(code)} ({error})", os.fspath(path)) from error
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        reserve(descriptor, os.fstat(descriptor).st_size)
        fill(descriptor, jobs, progress)
    finally:
        os.close(descriptor)


def _laid_out(
    path: Path,
    datasets: Mapping[str, LazyTensor],
    attributes: Mapping[str, Mapping[str, Any]],
) -> list[Job]:
    """Write the structure of a file, and say where each tensor goes."""
    import h5py  # takes as long to import as all of numpy, and reading never needs it

    jobs = []
    with h5py.File(path, "w") as file:
        for place, values in attributes.items():
            group = file.require_group(place) if place else file
            for name, value in values.items():
                _set_attribute(group, name, value)
        for name, tensor in datasets.items():
            dataset = _allocate(file, name, tensor)
            if tensor.dtype == "bfloat16":
                h5py.Dataset(dataset).attrs["dtype"] = "bfloat16"
            if tensor.size:
                jobs.append(Job(dataset.get_offset(), tensor))
    return jobs


def _allocate(file: h5py.File, name: str, tensor: LazyTensor) -> h5py.h5d.DatasetID:
    """A dataset with a place in the file, and nothing written to it."""
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    parents = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    parents.set_create_intermediate_group(True)
    dtype = np.dtype("V2") if tensor.dtype == "bfloat16" else DTYPES[tensor.dtype]
    return h5py.h5d.create(
        file.id,
        name.encode(),
        h5py.h5t.py_create(dtype, logical=True),
        h5py.h5s.create_simple(tensor.shape) if tensor.shape else h5py.h5s.create(h5py.h5s.SCALAR),
        properties,
        lcpl=parents,
    )


def _set_attribute(group: h5py.Group, name: str, value: Any) -> None:
    """Set an attribute; a list of texts that is too long goes into name0, name1, ..."""
    if not isinstance(value, list) or not value:
        group.attrs[name] = value
        return
    texts = [text.encode() for text in value]
    width = max(map(len, texts))
    each = max(1, _LARGEST_ATTRIBUTE // width)
    parts = [texts[start : start + each] for start in range(0, len(texts), each)]
    for number, part in enumerate(parts):
        key = name if len(parts) == 1 else f"{name}{number}"
        group.attrs[key] = np.array(part, dtype=f"S{width}")
