"""The text files of a checkpoint, beside its weights or within their file, as a folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xlm_core.checkpoints.layouts.base import MODEL_FOLDER
from xlm_core.checkpoints.layouts.keras import text_of
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.tokenization.files.folder import FOLDER_FILES, VOCAB_FILE

# What is taken out of a file: no name that a stranger chose.
_NAMES = (*FOLDER_FILES, *MODEL_FOLDER.copied)


@dataclass(frozen=True)
class Texts:
    """A folder of text files on their way into one file."""

    folder: Path

    def read(self) -> dict[str, bytes]:
        """The files by name."""
        return {file.name: file.read_bytes() for file in sorted(self.folder.iterdir())}


@contextmanager
def gathered() -> Iterator[Texts]:
    """A folder to write text files to, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="xlm-") as folder:
        yield Texts(Path(folder))


@contextmanager
def text_folder(checkpoint: Checkpoint) -> Iterator[Path]:
    """The folder with the text files of a checkpoint.

    That is the folder of its weights, or one with the files that the weights' own file holds. If
    that file holds no tokenizer, the one beside it counts.
    """
    held = {name: checkpoint.text_files[name] for name in _NAMES if name in checkpoint.text_files}
    if not held:
        yield checkpoint.folder
        return
    with gathered() as texts:
        if VOCAB_FILE not in held:
            beside = [*map(checkpoint.folder.joinpath, FOLDER_FILES), *codes_in(checkpoint.folder)]
            for file in beside:
                if file.is_file():
                    shutil.copyfile(file, texts.folder / file.name)
        for name, part in held.items():
            (texts.folder / name).write_bytes(text_of(part, f"{checkpoint.source} ({name})"))
        yield texts.folder


def codes_in(folder: Path) -> list[Path]:
    """The files of the original's BPE codes in a folder."""
    return sorted(file for file in folder.glob("codes*") if file.is_file())
