"""The loop: windows of lines to batches of items, and results back in the order of the lines."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, TextIO, TypeVar

from conversion.line_by_line.limits import Limits
from conversion.line_by_line.progress import Progress
from conversion.line_by_line.resuming import Done, Output, open_output
from conversion.line_by_line.text_files import Batch, Reader, refuse_output_that_is_read
from conversion.line_by_line.work import Batches, Line, LineWork, Result
from xlm_core.distribution import __version__
from xlm_core.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Summary:
    """What `run_line_by_line` did.

    Attributes:
        lines: Number of lines, those of an earlier run included.
        resumed: Number of lines that an earlier run had done.
        counts: The counts of all results, added up.
        seconds: The time this run took.
    """

    lines: int
    resumed: int
    counts: Mapping[str, int]
    seconds: float

    def text(self) -> str:
        """One line."""
        parts = [f"{self.lines:,} lines"]
        if self.resumed:
            parts.append(f"{self.resumed:,} of them by an earlier run")
        parts += [f"{count:,} {name}" for name, count in self.counts.items() if count]
        rate = (self.lines - self.resumed) / max(self.seconds, 1e-9)
        shown = f"{rate:,.1f}" if rate < 10 else f"{rate:,.0f}"
        return f"{', '.join(parts)}; {self.seconds:.1f} s, {shown} lines/s"


def run_line_by_line(
    work: LineWork[Item],
    inputs: Sequence[str],
    output: str | None,
    *,
    options: Mapping[str, Any],
    limits: Limits | None = None,
    overwrite: bool = False,
    terminal: TextIO | None = None,
    header: bytes = b"",
    finish: Callable[[BinaryIO, int], object] | None = None,
) -> Summary:
    """Compute a result for each line of files, in constant memory.

    Args:
        work: What is computed.
        inputs: UTF-8 files, also compressed (.gz, .xz, .bz2); "-" is the standard input, which is
            also read if there are no inputs. Only a line feed ends a line.
        output: A file, compressed if its name ends in .gz, .xz or .bz2; None or "-" is the
            standard output. A file appears under its name when it is whole; until then it lies
            beside it as OUT.part with its state, and a run that was killed goes on there when it
            is called again with the same input and options.
        options: What decides about the results (model, languages, settings of the search), as
            JSON. A state with other ones is refused, with what differs.
        limits: How many lines are computed together.
        overwrite: Whether to replace what is at `output`, and to discard a state that differs.
        terminal: Where to show the progress; None shows nothing.
        header: Bytes before the first result; not where the output is compressed.
        finish: Called at the end with the file, open for reading and appending, and the number of
            lines, where a header is to be filled in.

    Raises:
        InputError: If an input is missing, changed or not UTF-8, the output exists or is read too,
            or a state has other options.
    """
    start = time.perf_counter()
    limits = limits or Limits()
    limits.check()
    inputs = inputs or ("-",)
    refuse_output_that_is_read(output, inputs)
    interactive = "-" in inputs and sys.stdin.isatty()
    reader = Reader(inputs, 1 if interactive else limits.window_lines)
    options = {"version": __version__, **options}

    def finish_file(file: BinaryIO) -> None:
        if finish is not None:
            finish(file, target.done.lines)

    with open_output(
        output, options, overwrite=overwrite, header=header, finish=finish_file
    ) as target:
        resumed = target.done.lines
        progress = Progress(terminal, reader, start, before=resumed)
        try:
            with closing(_windows_from(reader, target.done)) as windows:
                for window, done in windows:
                    _run_window(work, window, done, target, limits, progress)
        finally:
            progress.clear()
    done = target.done
    return Summary(done.lines, resumed, dict(done.counts), time.perf_counter() - start)


def _windows_from(reader: Reader, before: Done) -> Generator[tuple[Batch, Done]]:
    """The windows after those that are done, each with the state that follows it, but for counts.

    Raises:
        InputError: If the input is not the one of which these were done.
    """
    digest = hashlib.blake2b(digest_size=16)
    lines = 0
    with closing(reader.batches()) as batches:
        for batch in batches:
            window = batch
            if lines < before.lines:
                skipped, window = batch.split(before.lines - lines)
                lines += skipped.count
                digest.update(skipped.data)
                if lines == before.lines:
                    _check_same_input(digest.hexdigest(), before)
                if not window.data:
                    continue
            lines += window.count
            digest.update(window.data)
            yield window, Done(lines=lines, digest=digest.hexdigest())
    if lines < before.lines:
        _check_same_input(f"{lines} lines", before)


def _check_same_input(digest: str, before: Done) -> None:
    if digest != before.digest:
        raise InputError(
            f"The input is not the one of which {before.lines:,} lines are done: they have "
            "changed. Give the same input, or remove OUT.part, which holds them, to begin anew."
        )


def _run_window(
    work: LineWork[Item],
    window: Batch,
    done: Done,
    target: Output,
    limits: Limits,
    progress: Progress,
) -> None:
    texts = window.lines()
    first = done.lines - len(texts) + 1
    items = work.prepare([Line(first + index, text) for index, text in enumerate(texts)])
    sizes = [work.size(item) for item in items]
    results: dict[int, Result] = {}
    done.counts = Counter(target.done.counts)
    finished = 0
    for batch in Batches[Item](limits.batch_size, limits.batch_tokens).of(sizes):
        for index, result in zip(batch, work.run([items[i] for i in batch]), strict=True):
            results[index] = result
            done.counts.update(result.counts)
        finished += len(batch)
        progress.show(first - 1 + finished, of_window=finished / len(texts))
    target.add(b"".join(results[index].output for index in range(len(texts))), done)
    progress.window_ends()
