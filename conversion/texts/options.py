"""What the caller says: which model and tokenizer, and how lines become ids."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model, what it computes in, and its tokenizer.

    Attributes:
        model: A checkpoint of any layout.
        framework: "torch" or "tf"; default: PyTorch if it is installed.
        dtype: In which it computes; default: float32.
        device: Where PyTorch computes; default: the accelerator if there is one.
        tokenizer: A folder with a tokenizer, in place of the checkpoint's own.
        codes: The original's BPE codes, for a file that brings no merges.
        mode: Whose ids to give.
        input_is_bpe: Lines are subwords with blanks between them, "@@" where more of the word
            follows.
    """

    model: str | os.PathLike[str]
    framework: str | None = None
    dtype: str | None = None
    device: str | None = None
    tokenizer: str | os.PathLike[str] | None = None
    codes: str | os.PathLike[str] | None = None
    mode: str | None = None
    input_is_bpe: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How lines become ids.

    Attributes:
        lang: Name or number of their language.
        frame: What opens a line, "</s>" or "<s>".
        truncation: Whether to cut lines that are too long; else they are refused.
        max_length: Most ids of a line, the frame included; None: the model's positions.
    """

    lang: str | None = None
    frame: str = "</s>"
    truncation: bool = False
    max_length: int | None = None
