"""The page of a run: its curves, its best figures, and what it was."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from conversion.reports.html.curves import Curve, curves_plot
from conversion.reports.html.parts import Cell, document, element, escaped, facts, heading, table
from xlm_core.training.config import TrainingConfig
from xlm_core.training.logs import read_table
from xlm_core.whole_files import written_whole

PAGE = "curves.html"
_ENDS = {
    "done": "the whole run was made",
    "early": "the criterion got no better",
    "interrupted": "it can be resumed",
    "failed": "the last line of its log says why",
}


def write_curves(
    target: Path,
    table_file: Path,
    reason: str,
    config: TrainingConfig,
    known: Mapping[str, str],
    entropies: Mapping[str, float] | None = None,
) -> None:
    """Write the page.

    Args:
        target: The file.
        table_file: With the numbers, of `TableLog`.
        reason: How the run ended: "done", "early", "interrupted" or "failed".
        config: The run's.
        known: More facts about the run.
        entropies: Of each task's labels, drawn beside its loss.
    """
    text = page_of(read_table(table_file), reason, config, known, entropies or {})
    with written_whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page_of(
    rows: Sequence[Mapping[str, str]],
    reason: str,
    config: TrainingConfig,
    known: Mapping[str, str],
    entropies: Mapping[str, float],
) -> str:
    """The page as text, see `write_curves`."""
    title = f"Training of {Path(config.output).name}"
    verdict = element("b", escaped(reason.upper())) + escaped(_ENDS[reason])
    kind = "passed" if reason in ("done", "early") else "failed"
    seconds = max((at for _, at in _series(rows, "seconds")), default=0.0)
    names = [
        ("time", str(datetime.timedelta(seconds=round(seconds)))),
        ("tasks", ", ".join(task.name for task in config.tasks)),
        *known.items(),
    ]
    parts = [
        element("h1", escaped(title)),
        element("p", verdict, class_=f"verdict {kind}"),
        facts(names),
        *_figures(rows, config),
        *_curves(rows, config, entropies),
    ]
    return document(title, "\n".join(parts))


def _series(rows: Sequence[Mapping[str, str]], column: str) -> list[tuple[float, float]]:
    """The numbers of a column, with the updates they are of."""
    return [
        (float(row["update"]), float(value)) for row in rows if (value := row.get(column) or "")
    ]


def _figures(rows: Sequence[Mapping[str, str]], config: TrainingConfig) -> list[str]:
    """The table of what was evaluated: the best and the last of each figure."""
    lines = []
    criterion = (config.stopping.criterion or "").lstrip("_")
    for name in config.figures():
        values = [(at, x) for at, x in _series(rows, name) if not math.isnan(x)]
        if not values:
            continue
        less = name.endswith("ppl")
        best_at, best = (min if less else max)(values, key=lambda pair: pair[1])
        lines.append(
            (
                Cell(name, "good" if name == criterion else ""),
                Cell(f"{best:.3f}", "number"),
                Cell(f"{best_at:,.0f}", "number"),
                Cell(f"{values[-1][1]:.3f}", "number"),
            )
        )
    if not lines:
        return []
    numbers = [Cell(word, "number") for word in ("best", "after updates", "last")]
    return [heading("Evaluations"), table([Cell("figure"), *numbers], lines)]


def _curves(
    rows: Sequence[Mapping[str, str]], config: TrainingConfig, entropies: Mapping[str, float]
) -> list[str]:
    parts = [heading("Losses of training")]
    for task in config.tasks:
        found = _series(rows, f"train_{task.name}_loss")
        parts.append(curves_plot(task.name, [Curve("loss", found)], level=entropies.get(task.name)))
    note = "By updates; dashed: the entropy of words by their counts."
    parts.insert(1, element("p", escaped(note), class_="note"))
    shown = [name for name in config.figures() if _series(rows, name)]
    if shown:
        parts.append(heading("Figures by updates"))
    of_test = {name.replace("test_", "", 1) for name in shown if name.startswith("test_")}
    for name in dict.fromkeys(name.partition("_")[2] for name in shown):
        curves = [Curve("valid", _series(rows, f"valid_{name}"))]
        if name in of_test:
            curves.append(Curve("test", _series(rows, f"test_{name}")))
        parts.append(curves_plot(name, curves))
    parts.append(heading("Course of the run"))
    for column in ("learning_rate", "gradient_norm", "tokens_per_second"):
        words = column.replace("_", " ").replace("per", "a")
        parts.append(curves_plot(words, [Curve(words, _series(rows, column))]))
    return [part for part in parts if part]
