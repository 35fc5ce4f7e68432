"""Real text and real vocabularies, from ../shared/data; its README.md describes them.

Needs neither pytest nor the packages of the project, so that scripts which record what another
library says can read the same lines.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import lzma
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

# Columns of NTREX that are not named by the two letters XLM uses.
NTREX_CODES = {
    "eng": "en",
    "fra": "fr",
    "spa": "es",
    "deu": "de",
    "ell": "el",
    "bul": "bg",
    "rus": "ru",
    "tur": "tr",
    "arb": "ar",
    "vie": "vi",
    "tha": "th",
    "zho-CN": "zh",
    "hin": "hi",
    "swa": "sw",
    "urd": "ur",
    "ron": "ro",
}

# Texts of the declaration -> the code under which Moses has rules, abbreviations or both; and of
# languages that the published pipeline hands to a segmenter.
UDHR_CODES = {
    "cat": "ca",
    "ces": "cs",
    "cmn": "zh",
    "deu": "de",
    "ell": "el",
    "eng": "en",
    "fin": "fi",
    "fra": "fr",
    "gle": "ga",
    "hun": "hu",
    "isl": "is",
    "ita": "it",
    "jpn": "ja",
    "kor": "ko",
    "lav": "lv",
    "lit": "lt",
    "nld": "nl",
    "pol": "pl",
    "por": "pt",
    "ron": "ro",
    "rus": "ru",
    "slk": "sk",
    "slv": "sl",
    "som": "so",
    "spa": "es",
    "swe": "sv",
    "tam": "ta",
    "tha": "th",
}

# Vocabulary -> the number of ids at which the published model cuts it.
VOCABULARIES = {"enfr": None, "ende": None, "xnli_15": 95_000}
FIRST_WORDS = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10)))


@dataclass(frozen=True)
class Vocabulary:
    """Files of a published vocabulary: as published, and in the form of transformers.

    Attributes:
        name: "enfr", "ende" or "xnli_15".
        codes: The merges with their counts, as fastBPE reads them.
        words: The words with their counts, in the order of their ids, without the special words.
        vocab_file: The words as vocab.json, cut where the published model cuts them.
        merges_file: The merges as merges.txt, which is the same as `codes`.
        max_vocab: The number of ids at which the words are cut, or None.
    """

    name: str
    codes: Path
    words: Path
    vocab_file: Path
    merges_file: Path
    max_vocab: int | None


def data_path(relative: str) -> Path:
    """The path of `relative` in ../shared/data; without it, what `shared_path` does."""
    path = DATA / relative
    if not path.exists():
        # Where the texts are, this is never reached: the scripts that record need no pytest.
        from tests.support.shared import shared_path

        return shared_path(f"data/{relative}")
    return path


def columns(relative: str) -> dict[str, list[str]]:
    """Name of a column -> its cells, of a compressed table with a header."""
    with lzma.open(data_path(relative), "rt", encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = [line.split("\t") for line in lines]
    return {name: list(cells) for name, *cells in zip(*rows, strict=True)}


@functools.cache
def ntrex() -> dict[str, list[str]]:
    """Language -> 1997 sentences of news, the same ones in each of the 16 languages."""
    table = columns("ntrex/ntrex_xnli15_ro.tsv.xz")
    return {code: table[name] for name, code in NTREX_CODES.items()}


@functools.cache
def pud() -> dict[str, list[str]]:
    """Language -> 1000 sentences of news and encyclopedia, the same ones in 21 languages."""
    table = columns("pud/pud_text.tsv.xz")
    return {code: cells for code, cells in table.items() if code != "sent_id"}


@functools.cache
def pydocs(limit: int = 5000) -> dict[str, list[str]]:
    """Language -> at most `limit` paragraphs of technical text, spread evenly over all of them."""
    table = columns("pydocs/pydocs.tsv.xz")
    texts = {}
    for code, cells in table.items():
        if code in ("file", "split"):
            continue
        filled = [cell for cell in cells if cell]
        count = min(limit, len(filled))
        texts[code] = [filled[i * len(filled) // count] for i in range(count)]
    return texts


@functools.cache
def udhr() -> dict[str, list[str]]:
    """Name of a text -> its lines; the declaration of human rights in 388 variants."""
    texts = {}
    with tarfile.open(data_path("udhr/udhr2.tar.xz"), "r:xz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.name.endswith(".txt") else None
            if content is None:
                continue
            lines = content.read().decode("utf-8").split("\n")
            if lines[-1] == "":
                lines.pop()
            texts[Path(member.name).stem] = lines
    return dict(sorted(texts.items()))


def udhr_language(name: str) -> str:
    """The language of a text of `udhr`: as Moses names it where it has rules, else as it is."""
    code = name.partition("_")[0]
    return UDHR_CODES.get(code, code)


@functools.cache
def folder() -> Path:
    """A temporary folder of this process, removed at its end."""
    temporary = tempfile.TemporaryDirectory(prefix="xlm-vocabularies-")
    atexit.register(temporary.cleanup)
    return Path(temporary.name)


def read_words(text: str, max_vocab: int | None = None) -> dict[str, int]:
    """Word -> id, from a published list of words and counts, read as the original reads it.

    A line that does not hold one word and one count, or a word that came before, takes no id.
    """
    words = {word: index for index, word in enumerate(FIRST_WORDS)}
    # Text mode, so that "\r" ends a line too; nothing else does.
    for line in io.StringIO(text, newline=None):
        fields = line.split()
        if "\u2028" not in line and len(fields) == 2 and fields[0] not in words:
            words[fields[0]] = len(words)
    return {word: i for word, i in words.items() if max_vocab is None or i < max_vocab}


def as_transformers(words: dict[str, int]) -> dict[str, int]:
    """The words of `read_words` as vocab.json has them: "</w>" at ends instead of "@@" within."""
    return {
        f"{word}</w>" if "@@" not in word and i >= len(FIRST_WORDS) else word.replace("@@", ""): i
        for word, i in words.items()
    }


@functools.cache
def vocabulary(name: str) -> Vocabulary:
    """The files of a published vocabulary: "enfr", "ende" or "xnli_15"."""
    target = folder() / name
    target.mkdir()
    content = {
        kind: lzma.decompress(data_path(f"xlm_vocab/{kind}_{name}.xz").read_bytes())
        for kind in ("codes", "vocab")
    }
    files = Vocabulary(
        name=name,
        codes=target / "codes",
        words=target / "vocab",
        vocab_file=target / "vocab.json",
        merges_file=target / "merges.txt",
        max_vocab=VOCABULARIES[name],
    )
    files.codes.write_bytes(content["codes"])
    files.merges_file.write_bytes(content["codes"])
    files.words.write_bytes(content["vocab"])
    words = as_transformers(read_words(content["vocab"].decode("utf-8"), files.max_vocab))
    files.vocab_file.write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")
    return files
