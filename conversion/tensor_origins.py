"""Where the values of a wrong tensor come from: another tensor, or the same one transposed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from xlm_core.checkpoints.filling import in_parallel
from xlm_core.checkpoints.tensors import LazyTensor

Digest = tuple[str, tuple[int, ...], bytes]


def origins(
    wrong: Sequence[str], first: Mapping[str, LazyTensor], second: Mapping[str, LazyTensor]
) -> dict[str, str]:
    """For tensors of B that are not A's of the same name: which of A's they are.

    Args:
        wrong: Names, in both.
        first, second: Name -> tensor, of A and of B.

    Returns:
        Name -> what its values are, in words; only where they are found.
    """
    kinds = {(second[name].dtype, second[name].shape) for name in wrong}
    names = [name for name, tensor in first.items() if (tensor.dtype, tensor.shape) in kinds]
    known: dict[Digest, str] = {}
    for name, digest in zip(names, in_parallel(_digest, [first[n] for n in names]), strict=True):
        known.setdefault(digest, f"A's {name}")
    result = {}
    digests = in_parallel(_digest, [second[name] for name in wrong])
    for name, digest in zip(wrong, digests, strict=True):
        if digest in known:
            result[name] = known[digest]
        elif len(first[name].shape) == 2 and _digest(first[name].transposed()) == digest:
            result[name] = f"A's {name}, transposed"
    return result


def _digest(tensor: LazyTensor) -> Digest:
    value = hashlib.blake2b(digest_size=32)
    for block in tensor.blocks():
        value.update(block.reshape(-1).view(np.uint8).data)
    return tensor.dtype, tensor.shape, value.digest()
