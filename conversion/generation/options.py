"""What the caller says: how to search, how texts become ids and back, and what is written."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from xlm_core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which model computes, and in what.

    Attributes:
        source: A checkpoint of any layout.
        framework, dtype, device: As in `conversion.opening.models.open_model`.
        causal: Open a language model as a causal one, whatever its configuration says; the
            original's files do not always say it.
    """

    source: str | os.PathLike[str]
    framework: str | None = None
    dtype: str | None = None
    device: str | None = None
    causal: bool = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the model searches; the names and defaults are those of its `generate`.

    Attributes:
        nbest: How many texts to write for each line: `num_return_sequences`. Without
            `num_beams`, there are as many beams.
        The others: None is the model's own setting.
    """

    nbest: int = 1
    num_beams: int | None = None
    beam_scoring: str | None = None
    length_penalty: float | None = None
    early_stopping: bool | str | None = None
    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None

    def settings(self) -> dict[str, Any]:
        """The arguments of `generate`.

        Raises:
            InputError: If `nbest` is no positive whole number.
        """
        values = {name: value for name, value in asdict(self).items() if value is not None}
        nbest = values.pop("nbest")
        if not isinstance(nbest, int) or nbest < 1:
            raise InputError(f"nbest is {nbest!r}; expected a whole number from 1 on.")
        values["num_return_sequences"] = nbest  # whatever the model's folder says
        if nbest > 1 and not self.do_sample:
            values.setdefault("num_beams", nbest)
        return values


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How lines become ids, and ids lines.

    Attributes:
        tokenizer: A folder with a tokenizer, in place of the checkpoint's own.
        codes: The original's BPE codes, for a file that brings no merges.
        mode: Whose ids to give.
        input_is_bpe: Lines are subwords with blanks between them, "@@" where more of the word
            follows.
        detokenize: Join words as their language writes them; False leaves a blank between each
            two, as in the text that the model was trained on.
    """

    tokenizer: str | os.PathLike[str] | None = None
    codes: str | os.PathLike[str] | None = None
    mode: str | None = None
    input_is_bpe: bool = False
    detokenize: bool = True


@dataclass(frozen=True, kw_only=True)
class WrittenAs:
    """What is written for a line.

    Attributes:
        json: A JSON object a line, with everything that is known.
        nbest: Several texts a line: each as `NUMBER ||| TEXT ||| SCORE`, NUMBER counted from 0.
    """

    json: bool = False
    nbest: bool = False
