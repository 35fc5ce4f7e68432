"""Files of vocabularies and merges: transformers' vocab.json and merges.txt, the original's files.

The original writes "@@" after every subword but the last of a word; transformers writes "</w>"
after the last. Source: xlm/data/dictionary.py (read_vocab) and fastBPE of the original;
convert_xlm_original_pytorch_checkpoint_to_pytorch.py of transformers 4 for the rule between them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlm_core.errors import TokenizerError, TokenizerFileError
from xlm_core.tokenization.words.bpe import END_OF_WORD, Pair

SPECIAL_WORDS = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10)))
# Of so many merges of any language, some end words.
_MANY_MERGES = 50
# What begins a word in the merges of byte-level BPE and of SentencePiece, which mark no ends.
_BEGINNINGS = ("\u0120", "\u2581")


@dataclass(frozen=True)
class Merges:
    """The lines of a file of merges.

    Attributes:
        lines: The fields of each line that count: a pair, or what there is of a malformed line,
            which merges nothing but keeps its place.
    """

    lines: tuple[tuple[str, ...], ...]

    def ranks(self) -> dict[Pair, int]:
        """The rank of each pair; the last one of a pair that comes twice."""
        return {(line[0], line[1]): i for i, line in enumerate(self.lines) if len(line) == 2}

    def text(self) -> str:
        """The lines as transformers writes them."""
        return "".join(" ".join(line) + "\n" for line in self.lines)


def read_merges(path: str | Path, *, original: bool = False) -> Merges:
    """Read merges.txt or the codes of fastBPE: one pair a line, in both with or without its count.

    A last line without its line break counts too; transformers drops it.

    Args:
        path: The file.
        original: Fields are separated as in fastBPE, by blanks alone (by other white space in a
            line without any); else by all white space, as in transformers.

    Raises:
        TokenizerError: The file cannot be read, is not UTF-8, or is not mostly merges.
    """
    path = Path(path)
    text = _lines(path)
    fields = [_code_fields(line) if original else line.split() for line in text]
    _check_merges(fields, text, path)
    return Merges(tuple(tuple(line[:2]) for line in fields))


def _code_fields(line: str) -> list[str]:
    """The fields of a line of fastBPE's codes.

    Those of 15 languages have pairs of no-break spaces, which Python takes for white space: where
    there are blanks, these alone separate.
    """
    if " " not in line:
        return line.split()
    return [field for field in line.replace("\t", " ").split(" ") if field]


def _check_merges(fields: Sequence[Sequence[str]], text: Sequence[str], path: Path) -> None:
    """Raise `TokenizerError` unless most lines of a file merge what can be merged.

    BPE joins letters and what it has joined before. A line that joins anything else, as the lines
    of a vocabulary or of a text do, never applies, unless earlier lines were taken out of the file.
    """
    known = {END_OF_WORD}

    def is_symbol(part: str) -> bool:
        return part in known or len(part.removesuffix(END_OF_WORD)) == 1

    filled = merges = ends = beginnings = 0
    other = ""
    for line, whole in zip(fields, text, strict=True):
        filled += bool(line)
        # Nothing follows what ends a word; and beside a pair there are counts, if anything.
        is_pair = len(line) > 1 and all(map(str.isdecimal, line[2:]))
        is_pair = is_pair and (line[0] == END_OF_WORD or not line[0].endswith(END_OF_WORD))
        ends_word = is_pair and line[1].endswith(END_OF_WORD)
        if ends_word or (is_pair and all(map(is_symbol, line[:2]))):
            merges += 1
            ends += ends_word
            beginnings += line[0].startswith(_BEGINNINGS)
            known.add(line[0] + line[1])
        elif line and not line[0].startswith("#version"):
            other = other or whole
    if merges <= filled / 2:
        found = f"The first other line is {other[:60]!r}." if filled else "It is empty."
        raise TokenizerError(
            f"{path} holds no merges: of its {filled} lines, {merges} join two subwords. {found} "
            "Expected merges.txt or the codes of fastBPE, where each line is two subwords and "
            "perhaps a count, with blanks between them, such as 't h 1234' and then "
            "'th e</w> 1200'. Without merges every word would fall apart into letters. Is it "
            "another file, the vocabulary for instance?"
        )
    if not ends and (beginnings or merges >= _MANY_MERGES):
        raise TokenizerError(
            f"{path} holds {merges} merges, and none that ends a word: expected XLM's, which mark "
            f"the ends of words with {END_OF_WORD}, such as 'th e</w>'. Are they those of another "
            "kind of model?"
        )


def read_code_counts(path: str | Path) -> tuple[int, ...] | None:
    """The third column of fastBPE's codes; None unless every line has one, a whole number."""
    fields = [_code_fields(line) for line in _lines(Path(path))]
    if not all(len(line) == 3 and line[2].isdecimal() for line in fields):
        return None
    return tuple(int(line[2]) for line in fields)


def are_cased(words: Iterable[str]) -> bool:
    """Whether the words of an original's dictionary are those of text that kept its case.

    The Latin letters decide, where there are any: the published vocabulary of 15 languages has
    capitals of other scripts, of text that was lowercased in ASCII alone, and wants lowercased
    text. A vocabulary without capitals was made of text that lost its accents at the same time.
    """
    own = [word.removesuffix(END_OF_WORD) for word in words if word not in SPECIAL_WORDS]
    latin = {char for char in {*"".join(own)} if char.isascii() and char.isalpha()}
    return any(map(str.isupper, latin)) if latin else any(word != word.lower() for word in own)


def read_vocabulary(path: str | Path) -> dict[str, int]:
    """Read vocab.json: the id of each subword.

    Raises:
        TokenizerError: It is not a JSON object of distinct subwords and distinct ids.
    """
    path = Path(path)
    duplicates: list[str] = []

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            duplicates.extend(key for key, count in counts.items() if count > 1)
        return found

    vocabulary = read_json(path, without_duplicates)
    if not isinstance(vocabulary, dict):
        raise TokenizerError(
            f"{path} holds a JSON {type(vocabulary).__name__}; expected an object that gives the "
            'id of each subword, such as {"<s>": 0, "</s>": 1, ...}.'
        )
    if duplicates:
        raise TokenizerError(
            f"{path} has more than one id for {_some(duplicates)}. Each subword must stand there "
            "once: which id the model was trained with cannot be known."
        )
    check_vocabulary(vocabulary, str(path))
    return vocabulary


def read_json(
    path: Path, of_pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None
) -> Any:
    """The value in a JSON file; `of_pairs` makes each object from its pairs.

    Raises:
        TokenizerError: It is not valid JSON.
    """
    try:
        return json.loads(_read_text(path), object_pairs_hook=of_pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TokenizerError(
            f"{path} is not valid JSON ({error}): the file is damaged or incomplete. Get it again."
        ) from error


def check_vocabulary(vocabulary: Mapping[str, Any], source: str) -> None:
    """Raise `TokenizerError` unless every subword has its own id, a whole number from 0."""
    if not vocabulary:
        raise TokenizerError(f"{source} holds no subwords: every word would be unknown.")
    if set(map(type, vocabulary.values())) - {int} or min(vocabulary.values(), default=0) < 0:
        wrong = [f"{w!r}: {i!r}" for w, i in vocabulary.items() if type(i) is not int or i < 0]
        raise TokenizerError(
            f"{source} has ids that are not whole numbers from 0 up: {', '.join(wrong[:5])}."
        )
    if len(set(vocabulary.values())) < len(vocabulary):
        word_of: dict[int, str] = {}
        shared = [
            f"{word_of[i]!r} and {word!r} ({i})"
            for word, i in vocabulary.items()
            if word_of.setdefault(i, word) != word
        ]
        raise TokenizerError(
            f"{source} gives the same id to more than one subword: {', '.join(shared[:5])}."
        )


def read_original_vocabulary(path: str | Path, max_vocab: int | None = None) -> list[str]:
    """Read a vocabulary file of the original: one word and its count a line, most frequent first.

    Args:
        path: The file.
        max_vocab: Keep so many words, the 14 special ones included; None keeps all.

    Returns:
        The word of each id. As in the original, ids 0 to 13 are the special words, and lines that
        are not two fields, hold U+2028 or repeat a word are passed over.

    Raises:
        TokenizerError: A count is not a number, or `max_vocab` leaves no word.
    """
    return _cut([*read_original_counts(path)], max_vocab)


def read_original_counts(path: str | Path) -> dict[str, int]:
    """How often each word of a vocabulary file of the original was seen, in the order of the ids.

    The special words were not counted: 0.

    Raises:
        TokenizerError: As `read_original_vocabulary`.
    """
    path = Path(path)
    words = dict.fromkeys(SPECIAL_WORDS, 0)
    lines = _lines(path)
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if "\u2028" in line or len(fields) != 2:
            continue
        word, count = fields
        if not count.isdecimal():
            raise TokenizerError(
                f"Line {number} of {path} is {line[:60]!r}; expected a word and its count. Is it "
                "the vocabulary? The codes of BPE have two subwords and a count a line."
            )
        words.setdefault(word, int(count))
    merges = sum(len(fields) == 3 and fields[2].isdigit() for fields in map(str.split, lines))
    if len(words) == len(SPECIAL_WORDS) or merges > len(lines) // 2:
        raise TokenizerError(
            f"Of the {len(lines)} lines of {path}, {len(words) - len(SPECIAL_WORDS)} are a word "
            f"and its count, and {merges} two subwords and a count, as in the codes of BPE: this "
            "is no vocabulary. Were the two files swapped?"
        )
    return words


def marks_ends(words: Sequence[str]) -> bool:
    """Whether a dictionary marks the ends of words by "</w>", as transformers' vocab.json does.

    The original's own marks by "@@" where more of the word follows. A file that says neither has
    whole words only.
    """
    return any(len(w) > len(END_OF_WORD) and w.endswith(END_OF_WORD) for w in words) and not any(
        "@@" in word for word in words
    )


def vocabulary_of_words(words: Iterable[str], max_vocab: int | None = None) -> dict[str, int]:
    """The ids of transformers' vocab.json for the words of the original's dictionary, in order.

    Words of a dictionary that marks ends as transformers does (`marks_ends`) stay as they are.

    Raises:
        TokenizerError: Two words become the same subword.
    """
    vocabulary: dict[str, int] = {}
    words = _cut(list(words), max_vocab)
    if tuple(words[: len(SPECIAL_WORDS)]) != SPECIAL_WORDS:
        raise TokenizerError(
            f"The dictionary begins with {words[: len(SPECIAL_WORDS)]}; one of the original begins "
            f"with its {len(SPECIAL_WORDS)} special words, {', '.join(SPECIAL_WORDS[:5])}, ..."
        )
    marked = marks_ends(words)
    for i, word in enumerate(words):
        if i < len(SPECIAL_WORDS) or marked:
            subword = word
        elif "@@" in word:
            subword = word.replace("@@", "")
        else:
            subword = word + END_OF_WORD
        if subword in vocabulary:
            raise TokenizerError(
                f"Words {vocabulary[subword]} and {i} of the dictionary both become {subword!r}: "
                'with "@@" for "more of the word follows", they cannot be told apart.'
            )
        vocabulary[subword] = i
    return vocabulary


def original_vocabulary(
    vocabulary: str | os.PathLike[str] | Mapping[int, str], max_vocab: int | None = None
) -> dict[str, int]:
    """The ids of transformers' vocab.json for a vocabulary of the original.

    Args:
        vocabulary: Its file, or the word of each id (a checkpoint's `dico_id2word`).
        max_vocab: Keep so many words; None keeps all.

    Raises:
        TokenizerError: It cannot be used.
    """
    if not isinstance(vocabulary, Mapping):
        return vocabulary_of_words(read_original_vocabulary(Path(vocabulary)), max_vocab)
    missing = set(range(len(vocabulary))) - vocabulary.keys()
    if missing:
        raise TokenizerError(f"The dictionary has no word for id {min(missing)}.")
    return vocabulary_of_words([vocabulary[i] for i in range(len(vocabulary))], max_vocab)


def _cut(words: list[str], max_vocab: int | None) -> list[str]:
    if max_vocab is None:
        return words
    if max_vocab < len(SPECIAL_WORDS):
        raise TokenizerError(
            f"max_vocab is {max_vocab}; the {len(SPECIAL_WORDS)} special words alone are more."
        )
    return words[:max_vocab]


def _lines(path: Path) -> list[str]:
    """The lines of a file, as Python's text mode sees them."""
    lines = _read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError as error:
        raise TokenizerFileError(f"There is no file {path}.") from error
    except OSError as error:
        raise TokenizerFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(
            f"{path} is not UTF-8 (byte {error.start}): the file is damaged or not a text."
        ) from error


def _some(words: list[str]) -> str:
    shown = ", ".join(map(repr, words[:5]))
    return shown if len(words) <= 5 else f"{shown} and {len(words) - 5} more"
