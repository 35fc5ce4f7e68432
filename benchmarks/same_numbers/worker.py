"""Computes the cases of one family of one checkout.

    python -m benchmarks.same_numbers.worker CHECKOUT FAMILY FILE.npz [PATTERN]

A checkout is any folder that holds the packages; it goes before the one that this file lies in.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import benchmarks.same_numbers.cases
import benchmarks.same_numbers.folders

# More of a tensor is kept as a digest of its bytes and this many of its values.
KEPT_VALUES = 2**13
SIDES = {"torch": "torch_side", "tf": "tf_side"}


def main() -> None:
    """Compute and write."""
    checkout, family, file, *pattern = sys.argv[1:]
    sys.path.insert(0, str(Path(checkout).resolve()))
    side_module = importlib.import_module(f"benchmarks.same_numbers.{SIDES[family]}")
    package = side_module.SIDE.package
    if Path(checkout).resolve() not in Path(package.__file__).resolve().parents:
        raise SystemExit(f"{package.__file__} is not in {checkout}")
    warnings.simplefilter("ignore")
    if family == "torch":
        importlib.import_module("torch").set_num_threads(1)
    start, slowest = time.perf_counter(), ("", 0.0)
    written: dict[str, np.ndarray[Any, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        models = list(benchmarks.same_numbers.cases.models())
        folder_of = {}
        for number, model in enumerate(models):
            if any(case_matches(family, model.name, pattern)):
                folder_of[model.name] = benchmarks.same_numbers.folders.write_folder(
                    model, Path(place) / str(number)
                )
        side = side_module.SIDE(folder_of)
        count = 0
        for case in benchmarks.same_numbers.cases.cases(family):
            if pattern and not re.search(pattern[0], f"{family}/{case.name}"):
                continue
            began = time.perf_counter()
            try:
                found = side.run(case)
            except Exception as error:  # noqa: BLE001  (what fails is a result, too)
                traceback.print_exc()
                text = f"{type(error).__name__}: {error}"
                found = {"FAILED": np.array(text[:500])}
            count += 1
            for name, array in found.items():
                keep(written, f"{family}/{case.name}/{name}", array)
            slowest = max(slowest, (case.name, time.perf_counter() - began), key=lambda x: x[1])
    np.savez(file, **written)
    print(
        f"{family}: {count} cases, {len(written)} arrays, {time.perf_counter() - start:.0f} s; "
        f"the slowest was {slowest[0]}, {slowest[1]:.1f} s",
        flush=True,
    )


def case_matches(family: str, model: str, pattern: list[str]) -> Any:
    """For each case of a model: whether it is asked for."""
    for case in benchmarks.same_numbers.cases.cases(family):
        if case.model.name == model:
            yield not pattern or re.search(pattern[0], f"{family}/{case.name}")


def keep(written: dict[str, np.ndarray[Any, Any]], name: str, array: np.ndarray[Any, Any]) -> None:
    """Write an array, or of a large one some values and a digest of all."""
    if array.size <= KEPT_VALUES:
        written[name] = array
        return
    # An odd step meets every column of a matrix whose sizes are powers of two.
    written[name] = array.reshape(-1)[:: array.size // KEPT_VALUES | 1].copy()
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    written[f"{name}#digest"] = np.array(f"{array.dtype} {array.shape} {digest}")


if __name__ == "__main__":
    main()
