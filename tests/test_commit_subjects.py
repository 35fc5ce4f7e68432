"""`make check` refuses commits with long subjects, and passes where there is no history."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import commit_subjects
from tests.support.commit_subjects import long_subjects, main

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    quiet = ["-c", "core.hooksPath=/dev/null", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *identity, *quiet, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit with a long subject, from before the rule; then a good one."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for subject in ("x" * 90, "é" * 72):
        git(folder, "commit", "--allow-empty", "--quiet", "-m", subject)
    return folder


def last_unchecked(folder: Path) -> str:
    return git(folder, "rev-list", "--max-parents=0", "HEAD")


def test_commits_from_before_the_rule_pass(repository: Path) -> None:
    assert long_subjects(repository, last_unchecked(repository)) == []
    assert main(repository, last_unchecked(repository)) == 0


def test_a_long_subject_fails(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subject = "y" * 73
    git(repository, "commit", "--allow-empty", "--quiet", "-m", subject, "-m", "z" * 100)
    git(repository, "commit", "--allow-empty", "--quiet", "-m", "Say more")
    assert main(repository, last_unchecked(repository)) == 1
    printed = capsys.readouterr().out
    assert subject in printed
    assert "73 characters: expected at most 72" in printed
    assert "Say more" not in printed


def test_a_shallow_clone_passes(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), "shallow")
    assert long_subjects(tmp_path / "shallow", last_unchecked(repository)) is None
    assert main(tmp_path / "shallow", last_unchecked(repository)) == 0


def test_files_without_a_history_pass(repository: Path, tmp_path: Path) -> None:
    assert main(tmp_path) == 0
    (repository / "inside").mkdir()  # the history of another project is not looked at
    assert long_subjects(repository / "inside", last_unchecked(repository)) is None


def test_git_may_be_missing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_subjects.shutil, "which", lambda name: None)
    assert main(repository) == 0


def test_make_check_looks() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "tests.support.commit_subjects" in recipe
