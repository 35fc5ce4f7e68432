"""BLEU of a model in training: its translations, as `xlm translate` writes them, and references.

Source: create_reference_files and evaluate_mt in xlm/evaluation/evaluator.py of the original, which
takes both sides from the ids of the corpora too.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from conversion.evaluation import evaluate
from conversion.generation import Model, Search, TextOptions, translate_files
from conversion.generation.texts import Texts
from conversion.line_by_line.limits import Limits
from conversion.opening.tokenizers import ids_of_subwords
from xlm_core.config import XLMConfig
from xlm_core.corpus import Corpus
from xlm_core.errors import ConfigError, InputError
from xlm_core.objectives import Pairs, Task
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.bpe import END_OF_WORD
from xlm_core.training.figures import figure_name
from xlm_core.whole_files import written_whole


@dataclass(frozen=True)
class Translated:
    """Pairs of sentences that a model is to translate.

    Attributes:
        split: "valid" or "test".
        task: Of translation.
        corpora: Sources and references: the corpora of the task's languages, in its order.

    Raises:
        ConfigError: If the task is none of translation.
    """

    split: str
    task: Task
    corpora: tuple[Corpus, Corpus]

    def __post_init__(self) -> None:
        if self.task.objective != "mt":
            raise ConfigError(f"{self.task.name} has no BLEU: expected a task of translation.")

    @property
    def name(self) -> str:
        """Of its files: "valid.en-fr"."""
        return f"{self.split}.{'-'.join(self.task.languages)}"


class BleuOfRun:
    """Writes the translations of a model in training, and measures them.

    A folder gets `valid.en-fr.source` (subwords), `valid.en-fr.reference` (their words), and for
    each evaluation `valid.en-fr.update-000100` with the translations, so that every figure can be
    had again:

        xlm translate MODEL --tokenizer TOKENIZER --src-lang en --tgt-lang fr --input-is-bpe
            --no-detokenize valid.en-fr.source -o valid.en-fr.update-000100
        xlm evaluate --tokenized valid.en-fr.update-000100 valid.en-fr.reference

    Translated are the pairs whose perplexity is computed: those with words on both sides that the
    model has positions for.

    Args:
        folder: For the files.
        tokenizer: Folder of the tokenizer that the corpora were made with.
        config: The model's.
        translated: What to translate.
        framework: "torch" or "tf".
        dtype, device: As in `conversion.generation.Model`.
        search: How to search; default: greedily.
        limits: How many sentences are translated together.
        most_pairs: Translate so many pairs of each, the first ones; None: all.

    Raises:
        CorpusError: If a corpus is not of this tokenizer, or two do not belong together.
        TokenizerError: If the tokenizer cannot be opened.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str],
        config: XLMConfig,
        translated: Iterable[Translated],
        *,
        framework: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        search: Search | None = None,
        limits: Limits | None = None,
        most_pairs: int | None = None,
    ) -> None:
        self.folder, self.translated = Path(folder), tuple(translated)
        self._tokenizer_folder = tokenizer
        self._framework, self._dtype, self._device = framework, dtype, device
        self._search, self._limits, self._most_pairs = search, limits, most_pairs
        self._positions = config.max_position_embeddings
        self._tokenizer = XLMTokenizer.from_pretrained(tokenizer)
        for each in self.translated:
            for corpus in each.corpora:
                corpus.check_tokenizer(self._tokenizer)
        self._written: set[str] = set()

    def __call__(self, model: str | os.PathLike[str], update: int) -> dict[str, float]:
        """Translate with a model.

        Args:
            model: Its folder, as `save_pretrained` writes it.
            update: How many updates were made; part of a file's name.

        Returns:
            BLEU in [0, 100] by the names of the figures, such as "valid_en-fr_mt_bleu".
        """
        return {
            figure_name(each.split, each.task, "bleu"): self._bleu(each, model, update)
            for each in self.translated
        }

    def _bleu(self, each: Translated, model: str | os.PathLike[str], update: int) -> float:
        if each.name not in self._written:
            self._write_texts(each)
            self._written.add(each.name)
        translations = self.folder / f"{each.name}.update-{update:06d}"
        source_language, target_language = each.task.languages
        translate_files(
            Model(source=model, framework=self._framework, dtype=self._dtype, device=self._device),
            [str(self._file(each, "source"))],
            str(translations),
            src_lang=source_language,
            tgt_lang=target_language,
            search=self._search,
            texts=self._options(model),
            limits=self._limits,
            overwrite=True,
        )
        # Keras' layers hold themselves: models of several evaluations would stay in memory.
        gc.collect()
        reference = self._file(each, "reference")
        return evaluate(str(translations), [str(reference)], tokenized=True).bleu.score

    def _options(self, model: str | os.PathLike[str] | None = None) -> TextOptions:
        # A run's model brings the tokenizer that it began with, whatever its folder holds now.
        words = XLMTokenizer.vocab_files_names["vocab_file"]
        brings = model is not None and (Path(model) / words).is_file()
        tokenizer = model if brings else self._tokenizer_folder
        return TextOptions(tokenizer=tokenizer, input_is_bpe=True, detokenize=False)

    def _file(self, each: Translated, what: str) -> Path:
        return self.folder / f"{each.name}.{what}"

    def _write_texts(self, each: Translated) -> None:
        """Write sources as subwords, references as words."""
        pairs = Pairs(*each.corpora, self._positions - 2)
        source_language, target_language = each.task.languages
        texts = Texts(
            self._tokenizer,
            self._options(),
            framing="sentence",
            lang=source_language,
            written_lang=target_language,
            positions=self._positions,
        )
        sources, references = each.corpora
        lines: tuple[list[str], list[str]] = ([], [])
        for at in pairs.kept[: self._most_pairs].tolist():
            lines[0].append(_subwords(self._tokenizer, sources[at].tolist()))
            lines[1].append(texts.text(references[at].tolist()).text)
        self.folder.mkdir(parents=True, exist_ok=True)
        for what, of_side in zip(("source", "reference"), lines, strict=True):
            text = "".join(f"{line}\n" for line in of_side)
            with written_whole(self._file(each, what)) as file:
                file.write_text(text, encoding="utf-8")


def _subwords(tokenizer: XLMTokenizer, ids: Sequence[int]) -> str:
    """A line of subwords that stands for these ids: with "@@", or as the vocabulary has them.

    Raises:
        InputError: If no line does, because a word of the vocabulary holds a mark or a blank.
    """
    tokens: list[str] = tokenizer.convert_ids_to_tokens(list(ids))
    special = set(tokenizer.all_special_tokens)
    marked = [
        token
        if token in special
        else token.removesuffix(END_OF_WORD)
        if token.endswith(END_OF_WORD)
        else f"{token}@@"
        for token in tokens
    ]
    for pieces in (marked, tokens):
        line = " ".join(pieces)
        if ids_of_subwords(tokenizer, line.split()) == list(ids):
            return line
    raise InputError(
        f"a sentence of the tokens {tokens!r:.200} cannot be written as subwords and read again: "
        "its vocabulary has words with blanks or marks of subwords in them."
    )
