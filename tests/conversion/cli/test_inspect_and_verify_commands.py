"""`xlm inspect` and `xlm verify A B`: exit codes, streams, pages, and errors on one line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.cli import main, terminal
from tests.conversion import pairs
from tests.conversion.small_checkpoints import write_checkpoint
from tests.support.conversion_tools import import_no_tensorflow, replace_verify
from xlm_core.checkpoints import LazyTensor
from xlm_core.checkpoints.torch_writing import write_torch

ROOT = Path(__file__).resolve().parents[3]
Change = Callable[[pairs.Tensors], None]


@pytest.fixture(autouse=True)
def _no_frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the command itself is tested: nothing is imported for it."""
    import_no_tensorflow(monkeypatch)
    pairs.hide_frameworks(monkeypatch)


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on the standard error; nothing is on the standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.isprintable()
    return line


def is_broken(tensors: pairs.Tensors) -> None:
    tensors[pairs.QUERY][0, 0] = np.nan


class TestInspect:
    @pytest.mark.parametrize(
        ("change", "options", "code"),
        [
            (pairs.nothing, [], 0),
            (pairs.nothing, ["--values"], 0),
            (pairs.rename, [], 1),
            (is_broken, [], 0),
            (is_broken, ["--values"], 1),
        ],
    )
    def test_exit_code_is_the_verdict(
        self, tmp_path: Path, capsys: Any, change: Change, options: list[str], code: int
    ) -> None:
        folder = pairs.write_pair(tmp_path, change)[1]
        assert main(["inspect", str(folder), *options]) == code
        captured = capsys.readouterr()
        assert captured.out.splitlines()[-1].startswith("NOT SOUND: " if code else "SOUND: ")
        assert captured.err == ""
        assert main(["inspect", str(folder), "--json", *options]) == code
        values = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert values["sound"] == (code == 0)
        assert (values["tensors"][0]["values"] is not None) == ("--values" in options)

    def test_what_is_not_there(self, tmp_path: Path, capsys: Any) -> None:
        assert main(["inspect", str(tmp_path / "absent")]) == 2
        assert error_of(capsys).startswith("xlm inspect: no folder at ")

    def test_a_name_that_was_never_downloaded(
        self, monkeypatch: Any, tmp_path: Path, capsys: Any
    ) -> None:
        asked: list[str] = []
        folder = pairs.write_pair(tmp_path, pairs.nothing)[0]

        def fetch(name: str, **_: Any) -> Path:
            asked.append(name)
            return folder

        monkeypatch.setattr("xlm_core.checkpoints.hub.fetch", fetch)
        assert main(["inspect", "somebody/something"]) == 0
        out = capsys.readouterr().out
        assert asked == ["somebody/something"]
        assert out.startswith("XLMWithLMHeadModel in somebody/something\n")
        assert "files: model.safetensors (" in out

    def test_memory_layers(self, tmp_path: Path, capsys: Any) -> None:
        tensor = LazyTensor.of(np.ones((2, 2), np.float32))
        write_torch(tmp_path / "x.pth", {"model": {"memories.1_in.keys": tensor}, "params": {}})
        assert main(["inspect", str(tmp_path / "x.pth")]) == 2
        assert "product-key memory layers (memories.1_in.keys)" in error_of(capsys)

    @pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\u202ereversed"])
    def test_nothing_of_a_name_reaches_the_terminal(
        self, tmp_path: Path, capsys: Any, name: str
    ) -> None:
        write_checkpoint(tmp_path / name)
        assert main(["inspect", str(tmp_path / name)]) == 0
        assert name not in capsys.readouterr().out
        (tmp_path / name / "model.safetensors").write_bytes(b"damaged")
        assert main(["inspect", str(tmp_path / name)]) == 2
        error_of(capsys)


class TestVerifyTwo:
    @pytest.mark.parametrize(("change", "code"), [(pairs.nothing, 0), (pairs.flip_a_bit, 1)])
    def test_exit_code_is_the_verdict(
        self, tmp_path: Path, capsys: Any, change: Change, code: int
    ) -> None:
        first, second = map(str, pairs.write_pair(tmp_path, change))
        assert main(["verify", first, second]) == code
        captured = capsys.readouterr()
        word = "FAILED" if code else "PASSED"
        assert captured.out.splitlines()[-1].startswith(f"{word}: ")
        assert captured.err == ""
        page = tmp_path / "page.html"
        assert main(["verify", first, second, "--json", "--html", str(page)]) == code
        assert json.loads(capsys.readouterr().out)["passed"] == (code == 0)
        assert f">{word}</b>" in page.read_text(encoding="utf-8")

    def test_either_may_be_wrong(self, tmp_path: Path, capsys: Any) -> None:
        first, second = map(str, pairs.write_pair(tmp_path, pairs.nothing))
        for names in ([first, f"{second}x"], [f"{first}x", second]):
            assert main(["verify", *names]) == 2
            assert error_of(capsys).startswith("xlm verify: no folder at ")

    def test_a_page_is_refused_before_work_begins(
        self, tmp_path: Path, monkeypatch: Any, capsys: Any
    ) -> None:
        first, second = pairs.write_pair(tmp_path, pairs.nothing)
        monkeypatch.setattr("xlm_core.checkpoints.open_checkpoint", pytest.fail)
        weights = second / "model.safetensors"
        before = weights.read_bytes()
        assert main(["verify", str(first), str(second), "--html", str(weights)]) == 2
        assert "is no HTML page" in error_of(capsys)
        assert weights.read_bytes() == before

    def test_a_page_of_one(self, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
        from tests.conversion.reports.html.test_page import report

        replace_verify(monkeypatch, lambda source, **_: report())
        folder = str(pairs.write_pair(tmp_path, pairs.nothing)[0])
        assert main(["verify", folder, "--html", str(tmp_path / "page.html")]) == 0
        assert "<svg" in (tmp_path / "page.html").read_text(encoding="utf-8")
        assert capsys.readouterr().out.splitlines()[-1].startswith("PASSED: ")


class TestTerminal:
    def test_who_has_read_enough(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path)
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-m", "conversion", "inspect", str(tmp_path)],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_a_terminal_without_the_letters(self, tmp_path: Path) -> None:
        folder = tmp_path / "\N{GREEK SMALL LETTER ALPHA}"
        write_checkpoint(folder)
        done = subprocess.run(
            [sys.executable, "-m", "conversion", "inspect", str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0].endswith(b"/\\u03b1")

    @pytest.mark.parametrize(("quiet", "isatty"), [(False, True), (True, True), (False, False)])
    def test_progress_is_for_terminals_and_goes(
        self, monkeypatch: Any, quiet: bool, isatty: bool
    ) -> None:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: isatty)
        monkeypatch.setattr(sys, "stderr", stream)

        def work() -> None:
            with terminal.shown_progress(quiet=quiet) as progress:
                progress.say("running it")
                raise KeyError

        with pytest.raises(KeyError):
            work()
        shown = isatty and not quiet
        assert ("running it" in stream.getvalue()) == shown
        assert stream.getvalue().endswith("\r") == shown

    def test_inspecting_imports_no_framework(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path)
        code = (
            "import sys; from conversion.cli import main; "
            f"assert main(['inspect', {str(tmp_path)!r}, '--values']) == 0; "
            "assert not sys.modules.keys() & {'torch', 'tensorflow', 'keras'}"
        )
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
