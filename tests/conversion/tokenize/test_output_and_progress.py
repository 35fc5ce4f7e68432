"""Where `xlm tokenize` writes, what it shows meanwhile, and how its process ends."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conversion.line_by_line.progress import Progress
from conversion.line_by_line.text_files import Reader
from tests.conversion.tokenize.tokenize_command import ids, run
from tests.support.conversion_tools import show_progress_at_once, stop_clocks

ROOT = Path(__file__).resolve().parents[3]


class TestOutput:
    def test_overwrite(self, folder: Path, source: Path, tokenizer: Any) -> None:
        out = source.with_name("out")
        out.write_text("before")
        assert run(folder, source, "-o", out, "--overwrite", "--quiet") == 0
        assert out.read_text().split("\n")[:-1] == ids(tokenizer)
        assert sorted(os.listdir(source.parent)) == ["out", "text", "tokenizer"]

    def test_a_link_stays(self, folder: Path, source: Path, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("before")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert run(folder, source, "-o", tmp_path / "link", "--overwrite", "--quiet") == 0
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_text().startswith("31 32")

    def test_a_device(self, folder: Path, source: Path) -> None:
        assert run(folder, source, "-o", os.devnull, "--quiet") == 0
        assert not Path(os.devnull).is_file()

    def test_quiet(self, folder: Path, source: Path, capsys: Any) -> None:
        assert run(folder, source, "--quiet") == 0
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        ("to", "counts"),
        [
            ("ids", "6 lines, 13 ids, 15.385 % unknown"),
            ("pieces", "6 lines, 13 pieces, 15.385 % unknown"),
            ("words", "6 lines, 11 words"),
        ],
    )
    def test_summary(self, folder: Path, source: Path, capsys: Any, to: str, counts: str) -> None:
        more = () if to == "words" else ("--add-special-tokens",)
        assert run(folder, source, "--to", to, *more) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert re.fullmatch(rf"{re.escape(counts)}; \d+\.\d s, [\d,]+ lines/s", line), line

    def test_an_error_in_the_middle_leaves_the_output(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "bad").write_bytes(b"a\n" * 3000 + b"\xff")
        (tmp_path / "out").write_text("before")
        assert run(folder, tmp_path / "bad", "-o", tmp_path / "out", "--overwrite") == 2
        assert (tmp_path / "out").read_text() == "before"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress:
    def screen(self, text: str) -> str:
        """What stands on the line in the end."""
        line = ""
        for part in text.split("\r"):
            line = part + line[len(part) :]
        return line.rstrip()

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stop_clocks(monkeypatch, 100.0)

    def test_of_known_size(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x\n" * 500_000)
        terminal = Terminal()
        reader = Reader([str(tmp_path / "a")], 250_000)
        progress = Progress(terminal, reader, 98.0)
        batches = reader.batches()
        next(batches)
        progress.show(250_000)
        assert re.fullmatch(
            r"\[#{10}-{10}\]  5\d % of 1.0 MB, 250,000 lines, 125,000 lines/s",
            self.screen(terminal.getvalue()),
        )
        progress.show(250_001)
        assert "250,001" not in terminal.getvalue()  # too soon
        progress.clear()
        assert self.screen(terminal.getvalue()) == ""

    def test_of_unknown_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        terminal = Terminal()
        progress = Progress(terminal, Reader(["-"], 1), 99.0)
        progress.show(50)
        assert self.screen(terminal.getvalue()) == "50 lines, 50 lines/s"

    def test_only_on_a_terminal(
        self, folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        show_progress_at_once(monkeypatch)
        for stream, more, shown in (
            (Terminal(), (), True),
            (Terminal(), ("--quiet",), False),
            (io.StringIO(), (), False),
        ):
            monkeypatch.setattr(sys, "stderr", stream)
            assert run(folder, source, "-o", tmp_path / "out", "--overwrite", *more) == 0
            assert ("\r" in stream.getvalue()) == shown

    def test_cleared_before_an_error(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        show_progress_at_once(monkeypatch)
        (tmp_path / "bad").write_bytes(b"a\n\xff")
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        more = ("-o", tmp_path / "out", "--batch-lines", 1)
        assert run(folder, tmp_path / "bad", *more) == 2
        last = self.screen(terminal.getvalue().split("\n")[0])
        assert last.startswith("xlm tokenize: ")


def command(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "conversion", "tokenize", *map(str, arguments), "--lang", "en"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


class TestProcess:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_broken_pipe(self, folder: Path, tmp_path: Path, workers: int) -> None:
        (tmp_path / "long").write_text("abc de\n" * 100_000)
        with command(folder, tmp_path / "long", "--workers", workers) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"31 32\n"
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(120) == 0

    def test_piped_text_comes_out_before_its_end(self, folder: Path) -> None:
        with command(folder, "--batch-lines", 1, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"abc\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"31\n"
            process.communicate(timeout=120)
            assert process.returncode == 0

    @pytest.mark.parametrize("to", ["ids", "corpus"])
    def test_interrupted(self, folder: Path, tmp_path: Path, to: str) -> None:
        more = ("-o", tmp_path / "out", "--to", to, "--workers", 2, "--batch-lines", 1)
        with command(folder, *more, stdin=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdin is not None
            process.stdin.write(b"abc\n" * 50)
            process.stdin.flush()
            end = time.monotonic() + 60
            while not list(tmp_path.glob(".out*")) and time.monotonic() < end:
                time.sleep(0.05)
            assert list(tmp_path.glob(".out*"))
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err.decode().endswith("xlm tokenize: interrupted\n")
        assert b"Traceback" not in err
        assert os.listdir(tmp_path) == ["tokenizer"]
