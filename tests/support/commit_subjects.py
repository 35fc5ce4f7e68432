"""Refuses commits with a first line of more than 72 characters.

    python -m tests.support.commit_subjects

looks at the commits after `LAST_UNCHECKED`, merges left out. Where there is no history, as in an
archive of the files or a shallow clone, there is nothing to look at, and that is no error.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

# Commits up to this one were written before there was a rule.
LAST_UNCHECKED = "b469afb3f34c65a3197af38acf7b8860c4e3d3f7"
LONGEST = 72


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout if done.returncode == 0 else None


def long_subjects(folder: Path, after: str = LAST_UNCHECKED) -> list[str] | None:
    """ "hash subject" of each commit whose subject is too long; None without a history.

    Args:
        folder: The top of a repository.
        after: The commit after which the rule holds.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top.strip()).resolve() != folder.resolve():
        return None
    log = _git(folder, "log", "--no-merges", "--format=%h %s", f"{after}..HEAD", "--")
    if log is None:  # the clone does not reach that far
        return None
    return [line for line in log.splitlines() if len(line.partition(" ")[2]) > LONGEST]


def main(folder: Path, after: str = LAST_UNCHECKED) -> int:
    """Print what is wrong; the exit code."""
    found = long_subjects(folder, after)
    if found is None:
        print(f"no history since {after[:7]} here: subjects of commits are not checked")
        return 0
    for line in found:
        length = len(line.partition(" ")[2])
        print(f"{line}\n  the subject has {length} characters: expected at most {LONGEST}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[2], *sys.argv[1:]))
