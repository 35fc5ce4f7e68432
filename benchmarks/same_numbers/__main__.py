"""The command: `python -m benchmarks.same_numbers`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import benchmarks.same_numbers
from benchmarks.same_numbers.comparing import compare, report

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("torch", "tf")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONHASHSEED": "0",
    "CUDA_VISIBLE_DEVICES": "",
}


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_numbers",
        description=benchmarks.same_numbers.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    choosing = argparse.ArgumentParser(add_help=False)
    choosing.add_argument(
        "--only", metavar="PATTERN", help="of family/model/dtype/batch/call, a regular expression"
    )
    computing = argparse.ArgumentParser(add_help=False, parents=[choosing])
    computing.add_argument("--family", choices=FAMILIES, help="one of them; default: both")
    one = commands.add_parser("compute", parents=[computing])
    one.add_argument("checkout", type=Path)
    one.add_argument("file", type=Path)
    two = commands.add_parser("compare", parents=[choosing])
    two.add_argument("old", type=Path)
    two.add_argument("new", type=Path)
    both = commands.add_parser("both", parents=[computing])
    both.add_argument("old", type=Path)
    both.add_argument("new", type=Path)
    return parser.parse_args(arguments)


def compute(checkout: Path, file: Path, options: argparse.Namespace) -> None:
    """Write the results of a checkout, computed by its own Python where it has one."""
    own = checkout / ".venv/bin/python"
    python = str(own) if own.exists() else sys.executable
    families = [options.family] if options.family else FAMILIES
    with tempfile.TemporaryDirectory() as place:
        parts = [Path(place) / f"{family}.npz" for family in families]
        for family, part in zip(families, parts, strict=True):
            command = [python, "-m", "benchmarks.same_numbers.worker", str(checkout), family]
            command += [str(part), *([options.only] if options.only else [])]
            environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
            subprocess.run(command, check=True, env=environment, cwd=place)
        arrays = {}
        for part in parts:
            with np.load(part) as found:
                arrays |= dict(found)
        np.savez(file, **arrays)


def main() -> None:
    """Compute, compare, or both; the exit code is 1 where something is no rounding."""
    options = options_of()
    if options.command == "compute":
        compute(options.checkout, options.file, options)
        return
    if options.command == "compare":
        found = compare(options.old, options.new, options.only)
    else:
        with tempfile.TemporaryDirectory() as place:
            files = [Path(place) / f"{number}.npz" for number in range(2)]
            for checkout, file in zip((options.old, options.new), files, strict=True):
                compute(checkout, file, options)
            found = compare(*files)
    for line in report(found):
        print(line)
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
