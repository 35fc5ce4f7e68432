"""Find where the values of a wrong tensor come from: another tensor, or one transposed."""

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
    """Find which tensors of A hold the values of wrong tensors of B.

    Args:
        wrong: Names of tensors that are in both and differ.
        first, second: The tensors of A and of B by name.

    Returns:
        For each name whose values were found: where in A they are, in words.
    """
    kinds = {(second[name].dtype, second[name].shape) for name in wrong}
    names = [name for name, tensor in first.items() if (tensor.dtype, tensor.shape) in kinds]
    known: dict[Digest, str] = {}
    for name, digest in zip(names, in_parallel(_digest, [first[n] for n in names]), strict=True):
        known.setdefault(digest, f"A's {name}")
    digests = dict(zip(wrong, in_parallel(_digest, [second[n] for n in wrong]), strict=True))
    result = {name: known[digest] for name, digest in digests.items() if digest in known}
    turned = {
        name: first[name].transposed()
        for name in wrong
        if name not in result
        and len(first[name].shape) == 2
        and first[name].shape[::-1] == second[name].shape
    }
    for name, digest in zip(turned, in_parallel(_digest, turned.values()), strict=True):
        if digest == digests[name]:
            result[name] = f"A's {name}, transposed"
    return result


def _digest(tensor: LazyTensor) -> Digest:
    value = hashlib.blake2b(digest_size=32)
    for block in tensor.blocks():
        value.update(block.reshape(-1).view(np.uint8).data)
    return tensor.dtype, tensor.shape, value.digest()
