"""Folders that are replaced whole, where names can be exchanged and where they cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from xlm_core import whole_files
from xlm_core.errors import CheckpointFileError
from xlm_core.training.saved import run_written_whole
from xlm_core.whole_files import folder_written_whole, put_back


@pytest.fixture(params=["exchanged", "renamed"])
def target(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "renamed":
        monkeypatch.setattr(whole_files, "_exchange", lambda *_: False)
    write(tmp_path / "folder", "old")
    return tmp_path / "folder"


def write(target: Path, text: str, **options: bool) -> None:
    with folder_written_whole(target, **options) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_text(text)


def read(target: Path) -> str:
    return (target / "inner" / "file").read_text()


def test_a_folder_is_replaced_with_all_its_files(target: Path) -> None:
    (target / "more").write_text("")
    write(target, "new")
    assert read(target) == "new"
    assert [entry.name for entry in target.iterdir()] == ["inner"]
    assert [*target.parent.iterdir()] == [target]


def test_an_interruption_leaves_the_old_folder(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a second Ctrl-C arrives among the renames."""
    monkeypatch.setattr(whole_files, "_exchange", lambda *_: False)
    rename = os.rename
    for interrupted in range(2):
        calls: list[Any] = []

        def interrupt(
            source: Any, to: Any, calls: list[Any] = calls, at: int = interrupted
        ) -> None:
            rename(source, to)
            calls.append(source)
            if len(calls) == at + 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(target, "new")
        monkeypatch.setattr(os, "rename", rename)
        assert read(target) in ("old", "new")[: interrupted + 1]


def test_a_folder_is_on_the_disk_before_the_old_one_goes(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(whole_files, "_sync", lambda path: steps.append(Path(path).name))
    remove = whole_files.shutil.rmtree

    def removed(path: Any, **options: Any) -> None:
        if Path(path).exists():
            steps.append("removed")
        remove(path, **options)

    monkeypatch.setattr(whole_files.shutil, "rmtree", removed)
    write(target, "new", flushed=True)
    temporary = f".folder.{os.getpid()}.tmp"
    assert steps[:4] == ["file", "inner", temporary, target.parent.name]
    assert steps.index("removed") == 4


def test_what_cannot_be_removed_stands_in_nobody_s_way(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a file that another process has open stays under another name."""
    remove = whole_files.shutil.rmtree

    def leave(path: Any, ignore_errors: bool = False) -> None:
        if Path(path).exists() and not ignore_errors:
            raise OSError("Device or resource busy")

    monkeypatch.setattr(whole_files.shutil, "rmtree", leave)
    for text in ("one", "two", "three"):
        write(target, text)
        assert read(target) == text
    monkeypatch.setattr(whole_files.shutil, "rmtree", remove)


def test_a_name_is_given_back(target: Path) -> None:
    target.rename(target.with_name(".folder.17.old"))
    put_back(target)
    assert read(target) == "old"
    write(target, "new")
    write(target.with_name(".folder.18.old"), "old")
    put_back(target)  # which has its name
    assert read(target) == "new"


def test_a_checkpoint_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / ".hidden").write_text("")
    for target, found in ((tmp_path, "holds thesis.tex"), (tmp_path / "thesis.tex", "is a file")):
        with (
            pytest.raises(CheckpointFileError, match=rf"{found}, which is no part of a checkpoint"),
            run_written_whole(target, {}, {}),
        ):
            pass
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
