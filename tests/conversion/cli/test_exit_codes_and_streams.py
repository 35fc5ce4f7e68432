"""The `xlm` command: exit codes, what is on which stream, and missing frameworks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.__main__ import run
from conversion.cli import main
from conversion.reports.outputs import Bars
from conversion.reports.verification import Report
from conversion.verification.outputs import compare
from tests.conversion.small_checkpoints import require_frameworks, write_checkpoint
from tests.support.conversion_tools import import_no_tensorflow, replace_verify
from xlm_core import XLMWarning
from xlm_core.errors import XLMError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def no_frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the command itself is tested: nothing is imported for it."""
    import_no_tensorflow(monkeypatch)


def fake_report(difference: float) -> Report:
    rows = compare({"logits": np.ones(2)}, {"logits": np.ones(2) + difference}, dtype="float64")
    seconds = {"PyTorch": {}, "TensorFlow": {}, "total": 0.1}
    return Report("x", "XLMModel", (6, 19), 0, rows, Bars(), {}, seconds)


def with_report(monkeypatch: pytest.MonkeyPatch, difference: float) -> None:
    replace_verify(monkeypatch, lambda source, **_: fake_report(difference))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on the standard error; nothing is on the standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "Traceback" not in line
    return line


@pytest.mark.usefixtures("no_frameworks")
class TestVerify:
    @pytest.mark.parametrize(("difference", "code"), [(0.0, 0), (0.1, 1)])
    def test_exit_code_is_the_verdict(
        self, folder: Path, monkeypatch: Any, capsys: Any, difference: float, code: int
    ) -> None:
        with_report(monkeypatch, difference)
        assert main(["verify", str(folder)]) == code
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("FAILED: first off in float64: logits" if code else "PASSED: 1")

    @pytest.mark.parametrize(("difference", "code"), [(0.0, 0), (0.1, 1)])
    def test_json_is_alone(
        self, folder: Path, monkeypatch: Any, capsys: Any, difference: float, code: int
    ) -> None:
        with_report(monkeypatch, difference)
        assert main(["verify", str(folder), "--json"]) == code
        values = json.loads(capsys.readouterr().out)
        assert values["passed"] == (code == 0)

    def test_unknown_folder(self, tmp_path: Path, capsys: Any) -> None:
        assert main(["verify", str(tmp_path / "absent")]) == 2
        assert error_of(capsys).startswith(f"xlm verify: no folder at {tmp_path / 'absent'}")

    def test_folder_without_config(self, folder: Path, capsys: Any) -> None:
        (folder / "config.json").unlink()
        assert main(["verify", str(folder)]) == 2
        assert "no config.json" in error_of(capsys)

    @pytest.mark.parametrize("command", ["verify", "inspect", "convert"])
    def test_broken_files_are_told_in_json_too(
        self, folder: Path, capsys: Any, command: str
    ) -> None:
        (folder / "model.safetensors").write_bytes(b"nothing of use")
        target = [str(folder.parent / "t"), "--to", "tf"] if command == "convert" else []
        assert main([command, "--json", str(folder), *target]) == 2
        captured = capsys.readouterr()
        values = json.loads(captured.out)
        assert values.pop("error") in captured.err
        assert values == {
            "kind": "error",
            "format": 1,
            "command": command,
            "error_type": "CheckpointError",
        }

    def test_folder_without_weights(self, folder: Path, capsys: Any) -> None:
        (folder / "model.safetensors").unlink()
        assert main(["verify", str(folder)]) == 2
        assert "holds no model.safetensors" in error_of(capsys)

    def test_damaged_weights(self, folder: Path, capsys: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"nothing of use")
        assert main(["verify", str(folder)]) == 2
        assert "is damaged" in error_of(capsys)

    def test_another_model_type(self, folder: Path, capsys: Any) -> None:
        (folder / "config.json").write_text('{"model_type": "bert"}')
        assert main(["verify", str(folder)]) == 2
        assert "model_type is 'bert'" in error_of(capsys)

    def test_another_class(self, folder: Path, capsys: Any) -> None:
        write_checkpoint(folder, architectures=["XLMForSomethingElse"])
        assert main(["verify", str(folder)]) == 2
        assert "XLMForSomethingElse" in error_of(capsys)

    def test_a_head_that_is_not_there(self, folder: Path, capsys: Any) -> None:
        write_checkpoint(folder, architectures=["XLMForTokenClassification"])
        assert main(["verify", str(folder)]) == 2
        assert "does not hold classifier.weight, classifier.bias" in error_of(capsys)

    def test_beams_longer_than_any_sequence(self, folder: Path, capsys: Any) -> None:
        write_checkpoint(folder, "XLMForQuestionAnswering", start_n_top=20)
        assert main(["verify", str(folder)]) == 2
        assert "start_n_top is 20" in error_of(capsys)

    def test_unreadable_folder(self, folder: Path, monkeypatch: Any, capsys: Any) -> None:
        def refuse(source: str, **_: Any) -> None:
            raise PermissionError(13, "Permission denied", source)

        replace_verify(monkeypatch, refuse)
        assert main(["verify", str(folder)]) == 2
        assert "Permission denied" in error_of(capsys)

    def test_messages_and_warnings_take_one_line(
        self, folder: Path, monkeypatch: Any, capsys: Any
    ) -> None:
        import warnings

        def refuse(source: str, **_: Any) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("two\nlines", XLMWarning, stacklevel=1)
            raise XLMError("one\n  two")

        replace_verify(monkeypatch, refuse)
        assert main(["verify", str(folder)]) == 2
        assert capsys.readouterr().err == "warning: two lines\nxlm verify: one two\n"

    @pytest.mark.parametrize(
        ("module", "extra"), [("torch", "xlm-parity[torch]"), ("tensorflow", "xlm-parity[tf]")]
    )
    def test_missing_framework(
        self, folder: Path, monkeypatch: Any, capsys: Any, module: str, extra: str
    ) -> None:
        for framework, package in (("torch", "xlm_torch"), ("tensorflow", "xlm_tf")):
            # What is not the missing one loads at once.
            absent = None if framework == module else sys
            monkeypatch.setitem(sys.modules, framework, absent)
            monkeypatch.setitem(sys.modules, package, sys)
        assert main(["verify", str(folder)]) == 2
        line = error_of(capsys)
        assert "is not installed" in line
        assert f"pip install '{extra}'" in line


class TestArguments:
    @pytest.mark.parametrize(
        "arguments", [[], ["unknown"], ["verify"], ["verify", "x", "--js"], ["demo", "x"]]
    )
    def test_wrong_ones_exit_with_2(self, arguments: list[str], capsys: Any) -> None:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "usage: xlm" in captured.err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["inspct", "x"], "Did you mean 'inspect'?"),
            (["verify", "x", "--jsn"], "Did you mean '--json'?"),
            (["convert", "x", "y", "--to", "safetensor"], "Did you mean 'safetensors'?"),
            (["convert", "x", "y", "--to", "tf", "--dtpye=float16"], "Did you mean '--dtype'?"),
            (["convert", "x", "y", "--to", "tf", "--dtype", "flaot16"], "Did you mean 'float16'?"),
            (["tokenize", "x", "--lang", "en", "--mode", "orginal"], "Did you mean 'original'?"),
        ],
    )
    def test_typos_get_the_nearest_name(self, arguments: list[str], said: str, capsys: Any) -> None:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
        assert capsys.readouterr().err.rstrip().endswith(said)

    def test_messages_speak_of_options(self, folder: Path, capsys: Any) -> None:
        target = folder.parent / "overwrite=True" / "target"
        run = ["convert", str(folder), str(target), "--to", "tf", "--quiet"]
        assert main(run) == 0
        assert main(run) == 2
        line = error_of(capsys)
        assert line.endswith("exists already. Replace it with --overwrite.")
        assert str(target) in line
        assert main([*run[:3], "--to", "tf", "--head", "XLMForTokenClassification"]) == 2
        assert "--overwrite" in error_of(capsys)

    @pytest.mark.parametrize(
        "command", [[], ["inspect"], ["verify"], ["convert"], ["demo"], ["tokenize"]]
    )
    def test_help_tells_the_exit_codes(self, command: list[str], capsys: Any) -> None:
        with pytest.raises(SystemExit) as exit_:
            main([*command, "--help"])
        assert exit_.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        for code in ("0, done", "1, a check failed", "2, it could not be done", "130, interrupted"):
            assert code in text

    def test_help(self, capsys: Any) -> None:
        with pytest.raises(SystemExit) as exit_:
            main(["--help"])
        assert exit_.value.code == 0
        assert "verify" in capsys.readouterr().out

    def test_demo_refuses_a_folder_that_holds_something(self, folder: Path, capsys: Any) -> None:
        assert main(["demo", "--keep", str(folder)]) == 2
        assert "exists already" in error_of(capsys)


def test_as_a_process(folder: Path) -> None:
    require_frameworks()
    done = subprocess.run(
        [sys.executable, "-m", "conversion", "verify", str(folder), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["passed"] is True
    assert values["architecture"] == "XLMWithLMHeadModel"
    assert {row["dtype"] for row in values["rows"]} == {"float64", "float32"}
    assert values["versions"].keys() >= {"torch", "tensorflow", "keras", "numpy"}
    assert values["seconds"]["TensorFlow"]["float64"]["open"] > 0


def test_importing_the_package_imports_no_framework() -> None:
    code = (
        "import os, sys, conversion.cli, conversion; "
        "assert not sys.modules.keys() & {'torch', 'tensorflow', 'keras'}; "
        "assert 'TF_CPP_MIN_LOG_LEVEL' not in os.environ"
    )
    plain = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=plain, check=True)


def test_ctrl_c_at_any_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Around a command as well: while it is imported, and while Python ends after it."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    try:
        monkeypatch.setattr("conversion.cli.main", interrupted)
        assert run() == 130
        assert capsys.readouterr().err == "xlm: interrupted\n"
        signal.signal(signal.SIGINT, handler)
        monkeypatch.setattr("conversion.cli.main", lambda: 0)
        assert run() == 0
        os.kill(os.getpid(), signal.SIGINT)  # ignored
    finally:
        signal.signal(signal.SIGINT, handler)
