"""The report of a verification, of one checkpoint or of two, as a self-contained page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conversion.reports.html.parts import (
    Cell,
    document,
    element,
    escaped,
    facts,
    heading,
    table,
)
from conversion.reports.html.plot import error_plot
from conversion.reports.html.tensors import tensors_section
from conversion.reports.output_table import bar_line, batch_line, percent
from conversion.reports.outputs import Bars, Row
from conversion.reports.pair import PairReport
from conversion.reports.verification import Report
from conversion.reports.wording import shape_of, two_digits
from xlm_core.errors import CheckpointError
from xlm_core.whole_files import written_whole

_DOCTYPE = b"<!doctype html>"


def write_page(path: Path, report: Report | PairReport) -> None:
    """Write the page of a report.

    Raises:
        CheckpointError: If `check_target` refuses the path.
    """
    check_target(path)
    with written_whole(path) as file:
        file.write_text(page_of(report), encoding="utf-8", newline="\n")


def check_target(path: Path) -> None:
    """Refuse a path where no page may be written: only another page is replaced.

    Raises:
        CheckpointError: If the folder does not exist, or the path is a folder or no HTML page.
    """
    if not path.parent.is_dir():
        raise CheckpointError(f"the folder {path.parent} does not exist: make it first.")
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give the name of a page to write.")
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(_DOCTYPE)).lower() != _DOCTYPE:
                raise CheckpointError(
                    f"{path} exists and is no HTML page, so it is not replaced: choose another "
                    "name for the page."
                )


def page_of(report: Report | PairReport) -> str:
    """The page of a report as text."""
    return _page_of_two(report) if isinstance(report, PairReport) else _page_of_one(report)


def _page_of_one(report: Report) -> str:
    title = f"Verification of {report.folder}"
    known = [("class", report.architecture), ("layout", report.layout or "not known")]
    return _page(
        title,
        report.verdict(),
        facts(
            [
                *known,
                ("compared", "PyTorch against TensorFlow"),
                ("batch", batch_line(report.batch, report.languages).removeprefix("batch: ")),
                *_versions_and_times(report.versions, report.seconds),
            ]
        ),
        _notes(report.notes),
        _forward(report.rows, report.bars, ("PyTorch", "TensorFlow")),
    )


def _page_of_two(report: PairReport) -> str:
    a, b = report.sides
    pairs = [("A", str(a)), ("B", str(b))]
    forward = report.forward
    if forward.batch:
        words = batch_line(forward.batch, forward.languages).removeprefix("batch: ")
        pairs += [("forward proof", " against ".join(forward.titles)), ("batch", words)]
    sections = []
    if report.fields:
        rows = [
            (name, Cell(repr(x), "words"), Cell(repr(y), "words"))
            for name, (x, y) in report.fields.items()
        ]
        sections += [heading("Configuration, where it differs"), table(("field", "A", "B"), rows)]
    for letter, side in zip("AB", report.sides, strict=True):
        if side.problems:
            sections.append(heading(f"{letter} by itself"))
            sections += [element("p", escaped(problem)) for problem in side.problems]
    sections += [tensors_section(report.tensors)]
    why = forward.left_out or forward.failure
    if why is not None:
        what = "left out" if forward.left_out else "could not be run"
        sections += [heading("Forward proof"), element("p", escaped(f"{what}: {why}"))]
    else:
        sections.append(
            _forward(forward.rows, report.bars, forward.titles, has_bars=forward.has_bars)
        )
    unproven = [f"not proven: {what}" for what in report.not_proven]
    return _page(
        f"Verification of {Path(a.source).name} against {Path(b.source).name}",
        report.verdict(),
        facts([*pairs, *_versions_and_times(report.versions, report.seconds)]),
        _notes([*report.notes, *unproven]),
        *sections,
    )


def _page(title: str, verdict: str, *parts: str) -> str:
    word, _, rest = verdict.partition(":")
    kind = "passed" if word == "PASSED" else "failed"
    inner = element("b", escaped(word)) + escaped(rest.strip())
    head = element("h1", escaped(title)) + element("p", inner, class_=f"verdict {kind}")
    return document(f"{word}: {title}", "\n".join((head, *parts)))


def _notes(notes: Iterable[str]) -> str:
    return "".join(element("p", escaped(note), class_="note") for note in notes)


def _versions_and_times(
    versions: Mapping[str, str], seconds: Mapping[str, Any]
) -> list[tuple[str, str]]:
    times = [f"{seconds['total']:.1f} in all"]
    for name, spent in seconds.items():
        if isinstance(spent, Mapping):
            times += [
                f"{name}, {dtype}: {part['open']:.1f} to open, {part['run']:.1f} to run"
                for dtype, part in spent.items()
            ]
        elif name != "total":
            times.append(f"{name} {spent:.1f}")
    return [
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("seconds", "; ".join(times)),
    ]


# -- what was computed -------------------------------------------------------------------------


def _forward(
    rows: Sequence[Row], bars: Bars, titles: tuple[str, str], *, has_bars: bool = True
) -> str:
    drawn = bars if has_bars else Bars(float64=0, float32_states=0)
    parts = [heading(f"Error by layer, {titles[0]} against {titles[1]}"), error_plot(rows, drawn)]
    words = "Largest difference as a share of the largest value of the tensor, logarithmic."
    parts.append(element("p", words, class_="note"))
    numbers = [Cell(name, "number") for name in ("difference", "of the largest", "equal")]
    header = [Cell("tensor"), Cell("what it is"), Cell("shape"), *numbers, Cell("")]
    for dtype in ("float64", "float32"):
        cells = [_cells(row) for row in rows if row.dtype == dtype]
        title = bar_line(bars, dtype) if has_bars else f"{dtype}, what rounding costs"
        parts += [heading(title), table(header, cells)]
    return "\n".join(parts)


def _cells(row: Row) -> list[Cell]:
    name, _, words = str(row).partition(" (")
    equal = ""
    if row.argmax_equal is not None:
        equal = f"argmax {percent(row.argmax_equal)}"
    elif row.index_equal is not None:
        equal = f"entries {percent(row.index_equal)}"
    verdict = Cell("ok", "good") if row.bar is not None else Cell("reported")
    if row.problem is not None:
        verdict = Cell(row.problem, "bad words")
    return [
        Cell(name),
        Cell(words.removesuffix(")")),
        Cell(shape_of(row.shape)),
        Cell(two_digits(row.difference), "number"),
        Cell(two_digits(row.relative), "number"),
        Cell(equal, "number"),
        verdict,
    ]
