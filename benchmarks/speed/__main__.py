"""The command: `python -m benchmarks.speed`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import benchmarks.speed
from benchmarks.speed.growth import measure_growth
from benchmarks.speed.measure import Effort, contenders_of, measure
from benchmarks.speed.plot import plot
from benchmarks.speed.pool import ORIGINAL, PEERS_PYTHON, Pool
from benchmarks.speed.report import as_json, heading, machine, table
from benchmarks.speed.results import RowResult
from benchmarks.speed.rows import Row, of_family, rows
from benchmarks.speed.tasks import Shape

SMALL = Shape(vocab_size=500, emb_dim=32, n_layers=2, n_heads=4)


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=benchmarks.speed.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [row.name for row in rows(Shape())]
    parser.add_argument("--quick", action="store_true", help="about 4 minutes: what matters most")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=[*names, "growth"],
        metavar="NAME",
        help=f"some of {', '.join(names)}, growth",
    )
    parser.add_argument(
        "--family", choices=["torch", "tf"], help="lanes of one framework alone, and their bars"
    )
    parser.add_argument("--rounds", type=int, help="at most so many for a row")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="write an SVG here")
    parser.add_argument("--folder", type=Path, help="where weights are kept meanwhile (1.5 GB)")
    parser.add_argument(
        "--peers-python",
        default=os.environ.get(PEERS_PYTHON),
        metavar="PYTHON",
        help="of an environment with torch, transformers 5, onnx, onnxscript, onnxruntime, "
        f"sacremoses (default: {PEERS_PYTHON})",
    )
    parser.add_argument(
        "--original",
        default=os.environ.get(ORIGINAL),
        metavar="CHECKOUT",
        help=f"of facebookresearch/XLM (default: {ORIGINAL})",
    )
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the benchmark")
    return parser.parse_args(arguments)


def effort_of(options: argparse.Namespace) -> Effort:
    """How long to measure."""
    if options.quick:
        return Effort(options.rounds or 3, seconds=5, least=min(options.rounds or 2, 2), quick=True)
    return Effort(options.rounds or 5, seconds=20, least=min(options.rounds or 3, 3))


def chosen(options: argparse.Namespace, table_of_rows: tuple[Row, ...]) -> list[Row]:
    """The rows that are named, else all; in a quick run, all but the long ones."""
    if options.family:
        of_one = (of_family(row, options.family) for row in table_of_rows)
        table_of_rows = tuple(row for row in of_one if row.lanes)
    if options.rows:
        return [row for row in table_of_rows if row.name in options.rows]
    return [row for row in table_of_rows if not (options.quick and row.long)]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print; what `as_json` gives."""
    shape, effort = SMALL if options.small else Shape(), effort_of(options)
    about, start = machine(), time.perf_counter()
    print(heading(about), flush=True)
    todo = chosen(options, rows(shape, 1000 if options.small else 200_000))
    results: list[RowResult] = []
    growth: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place) / "weights"
        with Pool(folder, options.peers_python, options.original) as pool:
            for name in contenders_of(todo[0], effort) if todo else ():
                pool.of(name)  # imports its libraries meanwhile
            if not all(row.task.kind == "update" for row in todo):  # which looks at no model
                # In a process of its own, whose memory ends with it.
                build = [sys.executable, "-m", "benchmarks.speed.weights", str(folder)]
                subprocess.run([*build, json.dumps(asdict(shape))], check=True)
            for number, row in enumerate(todo, 1):
                results.append(measure(row, pool, effort, todo[number:]))
                print(table(results[-1]), flush=True)
            if "growth" in options.rows if options.rows else not options.quick:
                growth = measure_growth(shape, pool, Effort(min(effort.rounds, 3), 5, 2))
                print(growth_table(growth), flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    return as_json(about, results, growth)


def growth_table(growth: list[dict[str, Any]]) -> str:
    """Growth, in lines."""
    lines = ["\nhow cost grows (ms)"]
    for point in growth:
        figures = ", ".join(f"{lane} {s * 1e3:.0f}" for lane, s in point["seconds"].items())
        lines.append(f"  {point['of']:10} {point['size']:>7,}  {point['title']:16} {figures}")
    return "\n".join(lines)


def main() -> None:
    """Run, and write the files that are asked for."""
    # So that an interrupted run ends its workers and leaves no weights behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    options = options_of()
    found = run(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.plot:
        options.plot.write_text(plot(found))


if __name__ == "__main__":
    main()
