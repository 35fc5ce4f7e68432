"""Output that a killed run leaves so that the next one goes on behind it.

Beside OUT lie, until it is whole, `OUT.part` with what was written and `OUT.part.json` with the
state: how many lines were done, how many bytes belong to them, a digest of the input that was read
for them, and the options. The state is replaced after the bytes it speaks of are on the disk, so
whatever interrupts a run, its bytes are cut off behind the state and the work goes on there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from conversion.line_by_line.output import check_absent, compressed, is_device, real_path
from xlm_core.errors import InputError
from xlm_core.whole_files import written_whole

_FORMAT = 1


@dataclass
class Done:
    """What was done.

    Attributes:
        lines: Number of lines.
        nbytes: Number of bytes that were written for them, as they lie on the disk.
        digest: Hexadecimal digest of the bytes of the input.
        counts: The counts of their results, added up.
    """

    lines: int = 0
    nbytes: int = 0
    digest: str = ""
    counts: Counter[str] = field(default_factory=Counter)


class Output(Protocol):
    """Takes the bytes of one window of lines after the other."""

    done: Done

    def add(self, data: bytes, done: Done) -> None:
        """Write bytes, after which `done` is the state (its `nbytes` is set here)."""


@contextmanager
def open_output(
    name: str | None,
    options: Mapping[str, Any],
    *,
    overwrite: bool,
    header: bytes = b"",
    finish: Callable[[BinaryIO], object] | None = None,
) -> Iterator[Output]:
    """Open where results go.

    Args:
        name: A file, compressed if it ends in .gz, .xz or .bz2; None or "-" is the standard output,
            a device or a pipe is written directly. Only a file can be resumed.
        options: What decides about the results, as JSON; a run that was begun with others is not
            gone on with.
        overwrite: Whether to replace the file, and to discard a run with other options.
        header: Bytes before the first result; not for compressed files.
        finish: Called with the open file at the end, where a header is to be filled in.

    Raises:
        InputError: If the file exists, another process is writing it, or the options differ.
    """
    if name in (None, "-"):
        sys.stdout.flush()
        yield _Stream(sys.stdout.buffer, header)
        return
    path = real_path(Path(str(name)))
    if is_device(path):
        with path.open("wb") as device:
            yield _Stream(device, header)
        return
    check_absent(path, overwrite)
    part = path.with_name(f"{path.name}.part")
    state = path.with_name(f"{path.name}.part.json")
    with _opened_alone(part) as file:
        output = _File(file, path.name, state, options)
        output.begin(header, overwrite)
        try:
            yield output
            output.end()
            if finish is not None:
                finish(file)
                file.flush()
        except BaseException:
            if not output.done.lines:
                part.unlink()
                state.unlink(missing_ok=True)
            raise
        os.fsync(file.fileno())
        os.replace(part, path)
        state.unlink(missing_ok=True)


@contextmanager
def _opened_alone(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading and writing that no other run has open, as it is."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        with contextlib.suppress(ImportError):  # not on every system
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # That file, or the one that another run has just finished and renamed?
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except OSError:
                same = False
            if not same:
                raise InputError(f"{path} is being written by another process.")
        yield file


def lines_left(name: str | None) -> int:
    """How many lines an unfinished run has left beside an output, for the next one to go on from.

    Args:
        name: As in `open_output`.
    """
    if name in (None, "-"):
        return 0
    try:
        found = _read_state(Path(os.path.realpath(f"{name}.part.json")))
    except (InputError, OSError):
        return 0
    return 0 if found is None else found[0].lines


class _Stream:
    """Output that cannot be resumed."""

    def __init__(self, stream: BinaryIO, header: bytes) -> None:
        self._stream = stream
        self.done = Done()
        if header:
            stream.write(header)

    def add(self, data: bytes, done: Done) -> None:
        self._stream.write(data)
        self._stream.flush()  # the reader may be waiting
        self.done = done


class _File:
    """Output in a file that lies beside its state."""

    def __init__(self, file: BinaryIO, name: str, state: Path, options: Mapping[str, Any]) -> None:
        self._file = file
        self._name = name
        self._state = state
        self._options = json.loads(json.dumps(options))
        self.done = Done()

    def begin(self, header: bytes, overwrite: bool) -> None:
        """Take up the state of an earlier run, if there is one, else begin anew."""
        size = os.fstat(self._file.fileno()).st_size
        found = _read_state(self._state) if size else None
        if found is not None:
            done, options = found
            differing = list(_differing(options, self._options))
            if done.nbytes > size:
                differing.append("it is shorter than it was")
            if not differing:
                self._file.truncate(done.nbytes)
                self._file.seek(done.nbytes)
                self.done = done
                return
            if not overwrite:
                raise InputError(
                    f"{self._state.with_suffix('')} is from a run that did not end, of which "
                    f"{done.lines:,} lines are done, and differs: {'; '.join(differing)}. Go on "
                    "with the same options, or give overwrite=True to begin anew."
                )
        self._state.unlink(missing_ok=True)
        self._file.truncate(0)
        self._file.write(header)
        self._file.flush()

    def add(self, data: bytes, done: Done) -> None:
        # A member of its own for each window: what was written before can be kept as it is.
        with compressed(self._file, self._name) as stream:
            stream.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        done.nbytes = os.fstat(self._file.fileno()).st_size
        values = {"format": _FORMAT, **vars(done), "options": self._options}
        with written_whole(self._state) as temporary:
            temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
        self.done = done

    def end(self) -> None:
        """Make an empty file one that can be decompressed."""
        if not self.done.lines:
            with compressed(self._file, self._name):
                pass
            self._file.flush()


def _read_state(path: Path) -> tuple[Done, dict[str, Any]] | None:
    """The state in a file; None where there is none.

    Raises:
        InputError: If it is not what a run has written.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != _FORMAT:
            raise ValueError(f"format {values['format']!r}")
        counts = Counter({str(name): int(count) for name, count in values["counts"].items()})
        done = Done(int(values["lines"]), int(values["nbytes"]), str(values["digest"]), counts)
        return done, dict(values["options"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not the state of a run ({error}): remove it to begin anew."
        ) from error


def _differing(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Say what differs between two sets of options."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _differing(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} was {old!r} and is {new!r}"
