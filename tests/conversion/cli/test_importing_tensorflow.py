"""Importing TensorFlow for the command: its notes are held back, errors are not."""

from __future__ import annotations

import os
from typing import Any

from conversion.cli import quiet


class TestQuiet:
    def test_notes_are_held_back_and_the_rest_is_not(self, monkeypatch: Any, capfd: Any) -> None:
        def load(name: str) -> None:
            os.write(2, b"I0000 00:00:1700000000.1  12 file.cc:31] a note\n")
            os.write(2, b"E0000 00:00:1700000000.1  12 file.cc:31] an error\nsomething\n")
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(quiet.importlib, "import_module", load)
        quiet.import_tensorflow()
        lines = capfd.readouterr().err.splitlines()
        assert [line[-8:] for line in lines] == ["an error", "omething"]
