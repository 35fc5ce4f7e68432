"""Two files of results: same bits, or rounding, or something else."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BOUND = 1e-12  # of the largest value, in float64
# An error that is rounding is now larger, now smaller. Those of a family in a dtype together must
# not have grown by more than the first; none may be larger than what was, its own or that of all
# together, by more than the second.
GROWTH, GROWTH_OF_ONE = 1.02, 2.0
# A float32 result further than this from its float64 judge has another judge: other random
# numbers, or an integer that rounding turned into its neighbour (int8).
NO_JUDGE = 1e-3


@dataclass
class Tensor:
    """A tensor whose bits are not the same.

    Attributes:
        name: family/model/dtype/batch/call/output.
        difference: The largest, as a fraction of the largest value.
        errors: Against float64, before and now: root mean squares over that of float64's values.
        verdict: What it is.
    """

    name: str
    difference: float
    errors: tuple[float, float] | None = None
    verdict: str = ""


@dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        same: Group -> number of tensors with the same bits.
        others: Those without.
        wrong: What is no rounding, in words.
    """

    same: Counter[str] = field(default_factory=Counter)
    others: list[Tensor] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def compare(old_file: Path, new_file: Path, only: str | None = None) -> Comparison:
    """Compare two files of `compute`; of them, the cases that match `only`."""
    found = Comparison()
    old, new = _loaded(old_file, only), _loaded(new_file, only)
    names = [name for name in old if not name.endswith("#digest")]
    for name in sorted(old.keys() ^ new.keys()):
        if not name.endswith("#digest"):
            found.wrong.append(f"{name}: in the {'old' if name in old else 'new'} file only")
    scales = _scales(old, names)
    for name in names:
        if name not in new:
            continue
        a, b = old[name], new[name]
        if _same_bits(name, old, new):
            found.same[_group(name)] += 1
            if name.endswith("/FAILED"):
                found.wrong.append(f"{name}: {a} (in both)")
        elif a.dtype != b.dtype or a.shape != b.shape or a.dtype.kind != "f":
            found.wrong.append(f"{name}: {_described(a)}, now {_described(b)}")
        else:
            found.others.append(_judged(name, a, b, old, scales[name]))
    pooled = _pooled(found.others)
    for tensor in found.others:
        if tensor.errors is not None:
            before, now = tensor.errors
            usual = pooled[_family_and_dtype(tensor.name)][0]
            grown = now > GROWTH_OF_ONE * max(before, usual)
            tensor.verdict = f"WRONG: error {before:.2e}, now {now:.2e}" if grown else "rounding"
        if tensor.verdict.startswith("WRONG"):
            found.wrong.append(f"{tensor.name}: {tensor.verdict}")
    for family, (before, now) in pooled.items():
        if now > GROWTH * before:
            found.wrong.append(
                f"{family}: errors against float64 have grown, {before:.3e} to {now:.3e}"
            )
    return found


def _loaded(file: Path, only: str | None) -> dict[str, Array]:
    """The arrays of the cases that match."""
    with np.load(file) as arrays:
        return {
            name: arrays[name]
            for name in arrays.files
            if only is None or re.search(only, _case_and_output(name)[0])
        }


def _same_bits(name: str, old: dict[str, Array], new: dict[str, Array]) -> bool:
    digest = f"{name}#digest"
    if digest in old or digest in new:
        return str(old.get(digest)) == str(new.get(digest))
    a, b = old[name], new[name]
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _scales(old: dict[str, Array], names: Iterable[str]) -> dict[str, float]:
    """The largest value of each output; for a gradient, the largest of the case's gradients."""
    largest: dict[str, float] = defaultdict(float)
    group_of = {}
    for name in names:
        case, _, output = _case_and_output(name)
        group = f"{case}/gradients" if output.startswith("gradient of ") else name
        group_of[name] = group
        array = old[name]
        if array.dtype.kind == "f" and array.size:
            largest[group] = max(largest[group], float(np.nanmax(np.abs(array))))
    return {name: largest[group] for name, group in group_of.items()}


def _judged(name: str, a: Array, b: Array, old: dict[str, Array], scale: float) -> Tensor:
    x, y = a.astype(np.float64), b.astype(np.float64)
    both_infinite = (x == y) | (np.isnan(x) & np.isnan(y))
    difference = np.where(both_infinite, 0.0, np.abs(x - y))
    largest = float(difference.max()) / scale if scale else float(difference.max())
    tensor = Tensor(name, largest)
    if not np.isfinite(largest):
        tensor.verdict = "WRONG: not finite"
    elif largest == 0:
        tensor.verdict = "WRONG: differs, but not where values were kept"
    elif a.dtype == np.float64:
        tensor.verdict = "rounding of float64" if largest <= BOUND else f"WRONG: {largest:.2e}"
    else:
        _judge_by_float64(tensor, x, y, old)
    return tensor


def _judge_by_float64(tensor: Tensor, x: Array, y: Array, old: dict[str, Array]) -> None:
    case, dtype, output = _case_and_output(tensor.name)
    judge = f"{case.replace(f'/{dtype}/', '/float64/')}/{output}"
    if judge in old and old[judge].shape == x.shape:
        reference = old[judge].astype(np.float64)
        finite = np.isfinite(reference)
        norm = float(np.sqrt(np.mean(reference[finite] ** 2))) or 1.0
        before, now = (float(np.sqrt(np.mean((v - reference)[finite] ** 2))) / norm for v in (x, y))
        if before < NO_JUDGE * (1000 if dtype == "bfloat16" else 1):
            tensor.errors = before, now
            return
    bound = 1e-2 if dtype == "bfloat16" or "int8" in tensor.name else 1e-5
    tensor.verdict = (
        f"without a judge, below {bound:g}"
        if tensor.difference <= bound
        else f"WRONG: {tensor.difference:.2e}, and float64 is no judge"
    )


def _pooled(tensors: list[Tensor]) -> dict[str, tuple[float, float]]:
    """For each family and dtype: the root mean square of all errors, before and now."""
    squares: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for tensor in tensors:
        if tensor.errors is not None:
            squares[_family_and_dtype(tensor.name)].append(tensor.errors)
    return {
        group: tuple(np.sqrt(np.mean(np.square(errors), axis=0)).tolist())
        for group, errors in squares.items()
    }


def _family_and_dtype(name: str) -> str:
    family, _, dtype, *_ = name.split("/")
    return f"{family} {dtype}"


def _case_and_output(name: str) -> tuple[str, str, str]:
    family, model, dtype, batch, call, output = name.split("/", 5)
    return "/".join((family, model, dtype, batch, call)), dtype, output


def _group(name: str) -> str:
    family, _, dtype, _, call, _ = name.split("/", 5)
    return f"{family:5} {dtype:8} {call}"


def _described(array: Array) -> str:
    return str(array)[:200] if array.dtype.kind in "US" else f"{array.dtype} {array.shape}"


def report(found: Comparison, longest: int = 40) -> Iterator[str]:
    """The lines of a report."""
    differing: dict[str, list[Tensor]] = defaultdict(list)
    for tensor in found.others:
        differing[_group(tensor.name)].append(tensor)
    yield f"{'family, dtype, call':44} {'same bits':>9} {'others':>7}  largest difference, errors"
    for group in sorted(set(found.same) | set(differing)):
        others = differing[group]
        line = f"{group:44} {found.same[group]:9} {len(others):7}"
        if others:
            worst = max(others, key=lambda t: t.difference)
            line += f"  {worst.difference:.1e} ({worst.name.split('/', 1)[1]})"
            errors = [t.errors for t in others if t.errors is not None]
            if errors:
                before, now = np.sqrt(np.mean(np.square(errors), axis=0))
                line += f", error {before:.2e}, now {now:.2e}"
        yield line
    same, others = sum(found.same.values()), len(found.others)
    yield f"{'all':44} {same:9} {others:7}"
    for family, (before, now) in _pooled(found.others).items():
        yield f"{family}: errors against float64 {before:.3e}, now {now:.3e} ({now / before:.3f})"
    for line in found.wrong[:longest]:
        yield f"WRONG  {line}"
    if len(found.wrong) > longest:
        yield f"... and {len(found.wrong) - longest} more"
    yield "no difference but rounding" if not found.wrong else f"{len(found.wrong)} are wrong"
