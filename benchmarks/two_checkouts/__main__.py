"""The command: `python -m benchmarks.two_checkouts`."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import benchmarks.two_checkouts
from benchmarks.speed.measure import PAUSE
from benchmarks.speed.pool import ROOT, Process
from benchmarks.speed.report import heading, machine
from benchmarks.speed.tasks import Shape
from benchmarks.two_checkouts.intervals import Interval, interval_of_median
from benchmarks.two_checkouts.rows import SIDES, Row, rows

# Who takes part: the control is the old checkout once more.
OLD, NEW, CONTROL = "old", "new", "control"
BOUND = 1.03
# Something shorter than this, in seconds, runs several times in each turn.
LONG_ENOUGH = 0.2
MOST_TIMES = 50
SMALL = Shape(vocab_size=500, emb_dim=32, n_layers=2, n_heads=4, max_position_embeddings=128)


@dataclass
class Result:
    """What was measured of a row.

    Attributes:
        row: Its name.
        seconds, cpu: Who -> one figure for each pair.
        missing: Why there is nothing to see.
    """

    row: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    missing: str = ""

    def ratio(self, who: str, times: dict[str, list[float]] | None = None) -> Interval:
        """Their time over the old one's, within each pair."""
        found = self.seconds if times is None else times
        pairs = zip(found[who], found[OLD], strict=True)
        return interval_of_median([theirs / old for theirs, old in pairs])

    @property
    def falls_short(self) -> bool:
        """Whether the new code is slower, beyond doubt and by more than the bound."""
        return bool(self.seconds) and self.ratio(NEW).lies_above(BOUND)

    def line(self) -> str:
        """For the table."""
        if self.missing:
            return f"{self.row:28} {self.missing}"
        old = statistics.median(self.seconds[OLD])
        text = f"{self.row:28} {old * 1e3:9.1f} ms  {self.ratio(NEW)!s:26}"
        by_cpu = self.ratio(NEW, self.cpu) if self.cpu else None
        text += f"  {by_cpu.median if by_cpu else float('nan'):7.3f}"
        if CONTROL in self.seconds:
            text += f"  {self.ratio(CONTROL)!s:26}"
        return text + ("  SLOWER" if self.falls_short else "")


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.two_checkouts",
        description=benchmarks.two_checkouts.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(row.name for row in rows(Shape()))
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--pairs", type=int, default=10, help="rounds of a row (default: 10)")
    parser.add_argument("--rows", nargs="+", metavar="PATTERN", help=f"some of: {names}")
    parser.add_argument("--no-control", action="store_true", help="without old against old")
    parser.add_argument("--threads", type=int, help="for each process; default: the frameworks'")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--folder", type=Path, help="where weights are kept meanwhile (1.5 GB)")
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the benchmark")
    return parser.parse_args(arguments)


class Checkouts:
    """The workers of all who take part.

    Args:
        paths: Who -> checkout.
        folder: Of the weights.
        threads: Of each process.
    """

    def __init__(self, paths: dict[str, Path], folder: Path, threads: int | None) -> None:
        self.paths = paths
        self.folder = folder
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
        self.environment = dict.fromkeys(names, str(threads)) if threads else {}
        self.workers: dict[tuple[str, str], Process] = {}

    def python_of(self, who: str) -> str:
        """A checkout's own Python, where it has one."""
        own = self.paths[who] / ".venv/bin/python"
        return str(own) if own.exists() else sys.executable

    def worker(self, who: str, side: str) -> Process:
        """Started if it is not there."""
        if (who, side) not in self.workers:
            command = [self.python_of(who), "-m", "benchmarks.two_checkouts.worker"]
            command += [str(self.paths[who]), SIDES[side], side, str(self.folder), who]
            self.workers[who, side] = Process(command, self.environment)
        return self.workers[who, side]

    def measure(self, row: Row, pairs: int) -> Result:
        """One round to warm up, then in turn, each round beginning with another."""
        result = Result(row.name)
        everyone = list(self.paths)
        if row.side:
            for who in everyone:
                request = {"do": "prepare", "name": row.name, "options": row.options}
                self.worker(who, row.side).ask(request | {"task": row.task})
            for who in everyone:
                self._note_absence(result, who, self.worker(who, row.side).answer())
        times = 1
        for number in range(-1, pairs):
            turn = number % len(everyone)
            for who in everyone[turn:] + everyone[:turn]:
                if result.missing:
                    return result
                time.sleep(PAUSE)
                answer = self._run(row, who, times)
                self._note_absence(result, who, answer)
                if number >= 0 and not result.missing:
                    result.seconds.setdefault(who, []).append(answer["seconds"] / times)
                    result.cpu.setdefault(who, []).append(answer["cpu"] / times)
            if number < 0 and row.side and not result.missing:
                again = self._run(row, OLD, times)["seconds"]
                times = max(1, min(MOST_TIMES, round(LONG_ENOUGH / again)))
        for who in everyone if row.side else ():
            self.worker(who, row.side).ask({"do": "forget", "kinds": [row.task["kind"]]})
            self.worker(who, row.side).answer()
        return result

    def _run(self, row: Row, who: str, times: int) -> dict[str, Any]:
        if row.side:
            self.worker(who, row.side).ask({"do": "run", "name": row.name, "times": times})
            return self.worker(who, row.side).answer()
        return self._fresh(row, who)

    def _fresh(self, row: Row, who: str) -> dict[str, Any]:
        """A process of its own, from its start to its end."""
        target = self.folder / f"{who}-target"
        shutil.rmtree(target, ignore_errors=True)
        names = {"folder": self.folder, "target": target}
        command = [self.python_of(who), *(word.format(**names) for word in row.command)]
        path = {"PYTHONPATH": str(self.paths[who].resolve()), "TF_CPP_MIN_LOG_LEVEL": "3"}
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(
            command,
            env=os.environ | self.environment | path,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds, after = time.perf_counter() - start, os.times()
        if done.returncode:
            return {"failed": (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]}
        cpu = after.children_user + after.children_system
        cpu -= before.children_user + before.children_system
        return {"seconds": seconds, "cpu": cpu}

    def _note_absence(self, result: Result, who: str, answer: dict[str, Any]) -> None:
        reason = answer.get("absent") or answer.get("failed")
        if reason and not result.missing:
            result.missing = f"{who}: {reason}"

    def end(self, side: str | None = None) -> None:
        """End the workers of a side, or all."""
        for key in [key for key in self.workers if side in (None, key[1])]:
            self.workers.pop(key).close()


def build(folder: Path, shape: Shape) -> None:
    """The weights, and texts with their vocabulary where there are any."""
    command = [sys.executable, "-m", "benchmarks.speed.weights", str(folder)]
    subprocess.run([*command, json.dumps(asdict(shape))], check=True, cwd=ROOT)
    from tests.support import corpora

    try:
        vocabulary, sentences = corpora.vocabulary("xnli_15").vocab_file.parent, corpora.pud()
    except FileNotFoundError:
        return
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(vocabulary / name, folder / name)
    languages = [language for language in sorted(sentences) if language not in ("ja", "th", "zh")]
    texts = [line for language in languages for line in sentences[language][:150]]
    (folder / "texts.txt").write_text("\n".join(texts), encoding="utf-8")


def run(options: argparse.Namespace) -> list[Result]:
    """Measure and print."""
    shape = SMALL if options.small else Shape()
    patterns = options.rows or ["*"]
    chosen = [r for r in rows(shape) if any(fnmatch.fnmatch(r.name, p) for p in patterns)]
    chosen.sort(key=lambda row: row.side)  # sorting is stable: one side after the other
    paths = {OLD: options.old, NEW: options.new}
    if not options.no_control:
        paths[CONTROL] = options.old
    print(heading(machine()))
    print(f"{'':28} {'old':>12}  {'new / old':26}  {'by CPU':>7}  old / old", flush=True)
    results = []
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place) / "weights"
        build(folder, shape)
        checkouts = Checkouts(paths, folder, options.threads)
        try:
            for number, row in enumerate(chosen):
                results.append(checkouts.measure(row, options.pairs))
                print(results[-1].line(), flush=True)
                if row.side and row.side not in {later.side for later in chosen[number + 1 :]}:
                    checkouts.end(row.side)
        finally:
            checkouts.end()
    return results


def main() -> None:
    """Run; the exit code is 1 where a row falls short."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    options = options_of()
    results = run(options)
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    short = [result.row for result in results if result.falls_short]
    print(f"slower beyond {BOUND - 1:.0%}: {', '.join(short) or 'none'}")
    sys.exit(bool(short))


if __name__ == "__main__":
    main()
