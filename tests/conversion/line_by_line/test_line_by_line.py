"""Lines to results: windows, batches, order, and runs that were killed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conversion.line_by_line.limits import Limits
from conversion.line_by_line.run import run_line_by_line
from conversion.line_by_line.work import Batches, Line, Result, json_line
from xlm_core.errors import InputError

TEXT = "".join(f"{'x' * (7 * n % 11)}{n}\n" for n in range(50)) + "\n\nlast é"
EXPECTED = "".join(
    f"{number} {line[::-1]}\n" for number, line in enumerate(TEXT.split("\n"), 1)
).encode()


class Killed(BaseException):
    pass


class Reversing:
    """Writes each line backwards; is killed in the batch after `batches`."""

    def __init__(self, batches: int | None = None) -> None:
        self.left = batches
        self.seen: list[int] = []
        self.batches: list[list[int]] = []

    def prepare(self, lines: Sequence[Line]) -> Sequence[Line]:
        return lines

    def size(self, line: Line) -> int:
        return len(line.text)

    def run(self, lines: Sequence[Line]) -> Sequence[Result]:
        if self.left == 0:
            raise Killed
        self.left = None if self.left is None else self.left - 1
        self.seen += [line.number for line in lines]
        self.batches.append([len(line.text) for line in lines])
        return [
            Result(
                f"{line.number} {line.text[::-1]}\n".encode(), {"letters x": line.text.count("x")}
            )
            for line in lines
        ]


SMALL = Limits(batch_size=4, batch_tokens=30, window_lines=20)


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "text").write_text(TEXT)
    return str(tmp_path / "text")


def run(work: Any, source: str, output: Any, **more: Any) -> Any:
    more = {"options": {"model": {"name": "a", "width": 8}}, "limits": SMALL, **more}
    return run_line_by_line(work, [source], str(output), **more)


def test_order_batches_and_counts(source: str, tmp_path: Path) -> None:
    work = Reversing()
    summary = run(work, source, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == EXPECTED
    assert sorted(work.seen) == list(range(1, 54))
    for batch in work.batches:
        assert batch == sorted(batch, reverse=True)
        assert len(batch) <= 4
        assert len(batch) == 1 or len(batch) * batch[0] <= 30
        assert batch[-1] > 0 or batch[0] == 0
    count = TEXT.count("x")
    assert re.fullmatch(rf"53 lines, {count} letters x; 0\.\d s, [\d,]+ lines/s", summary.text())
    assert sorted(os.listdir(tmp_path)) == ["out", "text"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2"])
def test_killed_and_resumed(source: str, tmp_path: Path, suffix: str) -> None:
    opened = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}[suffix]
    whole = tmp_path / f"whole{suffix}"
    run(Reversing(), source, whole)
    out = tmp_path / f"out{suffix}"
    killed = 0
    while not out.exists():
        work = Reversing(11)
        try:
            summary = run(work, source, out, limits=Limits(4, 30, 20 + killed))
        except Killed:
            killed += 1
            with open(f"{out}.part", "ab") as part:  # what was not yet in the state
                part.write(b"half a window")
    assert killed in (2, 3, 4)
    assert summary.lines == 53
    assert 0 < summary.resumed < 53
    assert summary.counts == {"letters x": TEXT.count("x")}
    with opened(out, "rb") as stream:
        assert stream.read() == EXPECTED
    assert sorted(os.listdir(tmp_path)) == sorted([f"out{suffix}", "text", f"whole{suffix}"])


def test_nothing_of_a_run_that_wrote_nothing(source: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(Reversing(1), source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["text"]


class TestRefused:
    @pytest.fixture
    def out(self, source: str, tmp_path: Path) -> Path:
        with pytest.raises(Killed):
            run(Reversing(11), source, tmp_path / "out")
        return tmp_path / "out"

    def test_other_options(self, source: str, out: Path) -> None:
        options = {"model": {"name": "a", "width": 16}, "beams": 5}
        with pytest.raises(InputError, match="20 lines are done") as error:
            run(Reversing(), source, out, options=options)
        assert "model.width was 8 and is 16; beams was None and is 5." in str(error.value)
        run(Reversing(), source, out, options=options, overwrite=True)
        assert out.read_bytes() == EXPECTED

    @pytest.mark.parametrize("change", ["begin", "shorter"])
    def test_another_input(self, source: str, out: Path, change: str) -> None:
        text = "another" + TEXT if change == "begin" else "0\n"
        Path(source).write_text(text)
        with pytest.raises(InputError, match="The input is not the one of which 20 lines are done"):
            run(Reversing(), source, out)
        assert Path(f"{out}.part").exists()

    def test_another_end_of_the_input(self, source: str, out: Path) -> None:
        Path(source).write_text(f"{TEXT}\nmore")
        run(Reversing(), source, out)
        assert out.read_bytes() == EXPECTED + b"54 erom\n"

    @pytest.mark.parametrize("state", ["{}", "[]", "no JSON", '{"format": 2}', '{"format": 1}'])
    def test_a_state_of_others(self, source: str, out: Path, state: str) -> None:
        Path(f"{out}.part.json").write_text(state)
        with pytest.raises(InputError, match="is not the state of a run"):
            run(Reversing(), source, out)

    def test_a_part_that_was_cut(self, source: str, out: Path) -> None:
        os.truncate(f"{out}.part", 3)
        with pytest.raises(InputError, match="it is shorter than it was"):
            run(Reversing(), source, out)

    def test_at_the_same_time(self, source: str, tmp_path: Path) -> None:
        class Inside(Reversing):
            def run(self, lines: Sequence[Line]) -> Sequence[Result]:
                with pytest.raises(InputError, match="is being written by another process"):
                    run(Reversing(), source, tmp_path / "out")
                return super().run(lines)

        run(Inside(), source, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == EXPECTED

    def test_what_exists(self, source: str, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("before")
        with pytest.raises(InputError, match="exists: give another name, or overwrite=True"):
            run(Reversing(), source, tmp_path / "out")
        with pytest.raises(Killed):
            run(Reversing(11), source, tmp_path / "out", overwrite=True)
        assert (tmp_path / "out").read_text() == "before"
        assert run(Reversing(), source, tmp_path / "out", overwrite=True).resumed == 20
        assert (tmp_path / "out").read_bytes() == EXPECTED

    @pytest.mark.parametrize("link", [None, os.link, os.symlink])
    def test_an_output_that_is_read(self, source: str, tmp_path: Path, link: Any) -> None:
        """It would be replaced by the results."""
        out = tmp_path / "text" if link is None else tmp_path / "out"
        if link is not None:
            link(source, out)
        for overwrite in (False, True):
            with pytest.raises(InputError, match=f"{out} is read too: give the output another"):
                run(Reversing(), source, out, overwrite=overwrite)
        assert Path(source).read_text() == TEXT
        with pytest.raises(InputError, match="There is no file"):
            run(Reversing(), f"{source}s", out, overwrite=True)

    def test_an_output_that_is_the_standard_input(
        self, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open(source, encoding="utf-8") as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            with pytest.raises(InputError, match="is read too"):
                run_line_by_line(Reversing(), [], source, options={}, overwrite=True)
        run_line_by_line(Reversing(), [os.devnull], os.devnull, options={})

    @pytest.mark.parametrize("name", ["batch_size", "batch_tokens", "window_lines"])
    def test_limits(self, source: str, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match=f"{name} is 0; expected a whole number from 1 on"):
            run(Reversing(), source, tmp_path / "out", limits=Limits(**{name: 0}))


@pytest.mark.parametrize("killed", [False, True])
def test_a_header_that_is_filled_in(source: str, tmp_path: Path, killed: bool) -> None:
    def finish(file: Any, lines: int) -> None:
        file.seek(0)
        file.write(f"{lines:>4}".encode())

    if killed:
        with pytest.raises(Killed):
            run(Reversing(11), source, tmp_path / "out", header=b"....", finish=finish)
    run(Reversing(), source, tmp_path / "out", header=b"....", finish=finish)
    assert (tmp_path / "out").read_bytes() == b"  53" + EXPECTED


@pytest.mark.parametrize("name", ["out", "out.gz", "out.xz", "out.bz2"])
def test_no_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_bytes(b"")
    assert run(Reversing(), str(tmp_path / "text"), tmp_path / name).lines == 0
    opened = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}[Path(name).suffix]
    with opened(tmp_path / name, "rb") as stream:
        assert stream.read() == b""
    assert (tmp_path / name).stat().st_size == 0 or name != "out"


def test_several_inputs_and_the_standard_output(tmp_path: Path, capfdbinary: Any) -> None:
    (tmp_path / "a").write_text("ab\nc")
    (tmp_path / "b").write_text("de\n")
    inputs = [str(tmp_path / "a"), str(tmp_path / "b")]
    run_line_by_line(Reversing(), inputs, None, options={}, limits=SMALL)
    assert capfdbinary.readouterr().out == b"1 ba\n2 c\n3 ed\n"


def test_one_item_longer_than_a_batch() -> None:
    assert list(Batches[int](3, 10).of([50, 2, 5, 5, 0, 1])) == [[0], [2, 3], [1, 5], [4]]


def test_json_line() -> None:
    line = json_line({"text": "é\n"})
    assert line == '{"text": "é\\n"}\n'.encode()
    assert json.loads(line) == {"text": "é\n"}
