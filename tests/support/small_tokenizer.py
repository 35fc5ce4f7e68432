"""A tokenizer of a few letters, made in a folder; and what the workers of its tests run."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from xlm_core import XLMTokenizer

SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10)))
LETTERS = "abcdefgh"
MERGES = (("a", "b"), ("ab", "c</w>"), ("d", "e</w>"), ("f", "g"))


def vocabulary(letters: str = LETTERS) -> dict[str, int]:
    """Id of each of the special tokens, the letters, and what the merges make of them."""
    tokens = [*SPECIAL, *(letter + end for letter in letters for end in ("", "</w>"))]
    tokens += [first + second for first, second in MERGES]
    return {token: i for i, token in enumerate(tokens)}


def write_folder(folder: Path, **settings: Any) -> Path:
    """vocab.json and merges.txt, and tokenizer_config.json if there are settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary()))
    (folder / "merges.txt").write_text("".join(f"{a} {b}\n" for a, b in MERGES))
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_original(folder: Path) -> Path:
    """The same as the original's files."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [
        token.removesuffix("</w>") if token.endswith("</w>") else f"{token}@@"
        for token in list(vocabulary())[len(SPECIAL) :]
    ]
    (folder / "codes").write_text("".join(f"{a} {b} 9\n" for a, b in MERGES))
    (folder / "vocab").write_text("".join(f"{word} 9\n" for word in words))
    return folder


def small_tokenizer(folder: Path, **arguments: Any) -> XLMTokenizer:
    """Of `write_folder`."""
    return XLMTokenizer.from_pretrained(write_folder(folder), **arguments)


# -- functions that workers run -------------------------------------------------------------


def process_of(tokenizer: XLMTokenizer, item: Any) -> int:
    time.sleep(0.05)  # so that every worker gets one
    return os.getpid()


def modules_of(tokenizer: XLMTokenizer, item: Any) -> list[str]:
    return sorted(sys.modules)


def environment_of(tokenizer: XLMTokenizer, name: str) -> str | None:
    return os.environ.get(name)


def sleep_and_return(tokenizer: XLMTokenizer, item: tuple[float, Any]) -> Any:
    time.sleep(item[0])
    return item[1]


def print_and_return(tokenizer: XLMTokenizer, item: Any) -> Any:
    print("what a library may print")
    os.write(1, b"the same from C\n")
    return item


def die_of_signal(tokenizer: XLMTokenizer, item: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_with(tokenizer: XLMTokenizer, status: int) -> None:
    os._exit(status)


def raise_index_error(tokenizer: XLMTokenizer, item: Any) -> None:
    raise IndexError(f"no {item}")


def raise_what_cannot_travel(tokenizer: XLMTokenizer, item: Any) -> None:
    class Local(Exception):
        pass

    raise Local("of a function")
