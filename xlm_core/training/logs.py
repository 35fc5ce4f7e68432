"""The logs of a run: lines of text, a table, and files for TensorBoard. Each listens to events."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from xlm_core.containers.event_files import EventFile
from xlm_core.training.config import TrainingConfig
from xlm_core.training.events import Begun, Ended, Evaluated, Event, Failed, Logged, Saved, Warned
from xlm_core.whole_files import written_whole

LINES, TABLE, EVENTS = "log.txt", "figures.csv", "tensorboard"
_REASONS = {
    "done": "done",
    "early": "stopped early: the criterion got no better",
    "interrupted": "interrupted, and saved: resume to go on",
}


def line_of(event: Event) -> str | None:
    """An event as a line of text; None: it has none."""
    if isinstance(event, Begun):
        if event.resumed is not None:
            begin = f"update {event.update:,}: goes on from {event.resumed.name}"
        else:
            begin = "begins"
        known = ", ".join(f"{name} {value:.3f}" for name, value in event.entropies.items())
        return f"{begin}{f'; entropy of words by their counts: {known}' if known else ''}"
    if isinstance(event, Logged):
        parts = [
            f"update {event.update:,}",
            f"{event.tokens:,} tokens",
            *(f"{name} {loss:.4f}" for name, loss in event.losses.items()),
            f"lr {event.learning_rate:.3g}",
            *(() if event.gradient_norm is None else (f"norm {event.gradient_norm:.3g}",)),
            f"{event.tokens_per_second:,.0f} tokens/s",
        ]
        passes = ", ".join(f"{name} {value:.2f}" for name, value in event.passes.items())
        return " | ".join([*parts, *([f"passes {passes}"] if passes else [])])
    if isinstance(event, Evaluated):
        figures = " | ".join(f"{name} {value:.3f}" for name, value in event.figures.items())
        return f"update {event.update:,} | {figures}{' | best' if event.is_best else ''}"
    if isinstance(event, Saved):
        return f"update {event.update:,}: saved {event.path}"
    if isinstance(event, Warned):
        return f"warning: {event.text}"
    if isinstance(event, Failed):
        return f"error: {event.text}"
    if isinstance(event, Ended):
        time = datetime.timedelta(seconds=round(event.seconds))
        return (
            f"update {event.update:,}: {_REASONS[event.reason]}, after {event.tokens:,} tokens and "
            f"{time}"
        )
    return None


def numbers_of(event: Event) -> dict[str, float] | None:
    """The numbers of an event by the names of the table's columns; None: it has none."""
    if isinstance(event, Evaluated):
        return dict(event.figures)
    if not isinstance(event, Logged):
        return None
    norm = {} if event.gradient_norm is None else {"gradient_norm": event.gradient_norm}
    return {
        "learning_rate": event.learning_rate,
        **norm,
        "tokens_per_second": event.tokens_per_second,
        **{f"train_{name}_loss": loss for name, loss in event.losses.items()},
        **{f"passes_{name}": value for name, value in event.passes.items()},
    }


def columns_of(config: TrainingConfig) -> list[str]:
    """The columns of a run's table."""
    tasks = [task.name for task in config.tasks]
    return [
        *("update", "tokens", "seconds", "learning_rate", "gradient_norm", "tokens_per_second"),
        *(f"train_{name}_loss" for name in tasks),
        *(f"passes_{name}" for name in tasks),
        *config.figures(),
    ]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say with an error of writing which file it is of, as errors of opening do."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


class LineLog:
    """Appends lines to a file, with the time, and shows them.

    Args:
        path: The file.
        show: Gets every line, without the time.
    """

    def __init__(self, path: Path, show: Callable[[str], None] | None = None) -> None:
        self._path, self._file = path, path.open("a", encoding="utf-8")
        self._show = show

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        line = line_of(event)
        if line is None:
            return
        self.write(line)
        if self._show is not None:
            self._show(line)

    def write(self, text: str) -> None:
        """Append lines that are no event: they are not shown."""
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        with _named(self._path):
            self._file.writelines(f"{now} {line}\n" for line in text.splitlines())
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what could not be written was told when it was
            self._file.close()


class TableLog:
    """Writes numbers as a table of comma-separated values, a row an event.

    Args:
        path: The file.
        columns: Of `columns_of`.
        update: Rows of later updates are removed: the run goes on here.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, update: int = 0) -> None:
        rows = [row for row in read_table(path) if update and int(row["update"]) <= update]
        with written_whole(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self._path, self._file = path, path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        numbers = numbers_of(event)
        if numbers is None or not isinstance(event, Logged | Evaluated):
            return
        at = {"update": event.update, "tokens": event.tokens, "seconds": round(event.seconds, 1)}
        known = {k: v for k, v in numbers.items() if k in self._writer.fieldnames}
        with _named(self._path):
            self._writer.writerow({**at, **known})
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what could not be written was told when it was
            self._file.close()


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table that `TableLog` wrote; none if there is no such file.

    Left out are a last row that was cut off, as a full disk leaves it, and rows that hold no
    numbers, as another program may have left them.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    return [dict(row) for row in csv.DictReader(whole.splitlines()) if _is_of_numbers(row)]


def _is_of_numbers(row: Mapping[str | None, str | list[str] | None]) -> bool:
    """Whether a row is of some update, and all that it holds is numbers."""
    if not str(row.get("update") or "").isdecimal():
        return False
    try:
        for value in row.values():
            float(value or 0)  # type: ignore[arg-type]  # more columns than names are a list
    except (TypeError, ValueError):
        return False
    return True


class EventLog:
    """Writes numbers for TensorBoard.

    Args:
        folder: Of its files.
        update: The run goes on here: what files hold of later updates does not count.
    """

    def __init__(self, folder: Path, *, update: int = 0) -> None:
        # A run that begins anew in the folder of one without a checkpoint: all of that is void.
        self._folder, first = folder, update + 1 if update else 0
        with _named(folder):
            self._events = EventFile(folder, first=first)

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        numbers = numbers_of(event)
        if numbers and isinstance(event, Logged | Evaluated):
            with _named(self._folder):
                self._events.add(event.update, _tagged(numbers))

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what could not be written was told when it was
            self._events.close()


def _tagged(numbers: Mapping[str, float]) -> dict[str, float]:
    """Numbers by tags that TensorBoard groups: before the first slash."""
    tags = {}
    for name, value in numbers.items():
        group, _, rest = name.partition("_")
        tag = f"{group}/{rest}" if group in ("train", "valid", "test", "passes") else f"run/{name}"
        if not math.isnan(value):
            tags[tag] = value
    return tags
