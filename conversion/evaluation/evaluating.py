"""`evaluate`: BLEU and chrF of a file of translations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import chain
from typing import Any

from conversion.evaluation.figures import Bleu, Chrf, Evaluation
from conversion.evaluation.multi_bleu import multi_bleu
from conversion.line_by_line.text_files import Reader
from xlm_core.distribution import install_command
from xlm_core.errors import InputError, MissingPackageError
from xlm_core.tokenization.text.romanian import without_romanian_diacritics

_READ_TOGETHER = 1 << 16
# Kinds of Chinese in the published models: sacreBLEU knows the first.
_CHINESE = ("zh", "zh_classical", "zh_yue", "yue", "wuu", "gan")


def evaluate(
    hypothesis: str,
    references: Sequence[str],
    *,
    lang: str | None = None,
    tokenized: bool = False,
    normalize_romanian: bool = False,
) -> Evaluation:
    """Compare translations with references, line by line.

    Args:
        hypothesis: The file of translations, also compressed; "-" is the standard input.
        references: The files of references.
        lang: Language of the translations: Chinese, Japanese and Korean are split by tokenizers
            of their own. Default: by blanks and punctuation ("13a").
        tokenized: The files hold tokenized text, whose words have blanks between them: give BLEU
            as multi-bleu.perl does, which the original prints, and no chrF. "@@" joins subwords.
        normalize_romanian: Remove Romanian's diacritics from both sides, as is usual for WMT16.

    Raises:
        InputError: If a file is missing or empty, or they differ in their number of lines.
        MissingPackageError: If sacreBLEU is not installed, or what it needs for `lang`.
    """
    if not references:
        raise InputError("evaluate got no references: give a file of them.")
    if list(references).count("-") + (hypothesis == "-") > 1:
        raise InputError("the standard input (-) was given for several files: it can be one.")
    translations = _lines(hypothesis)
    if not translations:
        raise InputError(f"{hypothesis} holds no lines: expected translations to evaluate.")
    others = [_lines(name) for name in references]
    for name, lines in zip(references, others, strict=True):
        if len(lines) != len(translations):
            raise InputError(
                f"{hypothesis} has {len(translations):,} lines and {name} has {len(lines):,}: "
                "expected a translation for each line of the references."
            )
    if normalize_romanian:
        translations = [*map(without_romanian_diacritics, translations)]
        others = [[*map(without_romanian_diacritics, lines)] for lines in others]
    bleu, chrf = (
        (multi_bleu(translations, others), None)
        if tokenized
        else _by_sacrebleu(translations, others, lang)
    )
    return Evaluation(hypothesis, tuple(references), len(translations), bleu, chrf)


def _lines(name: str) -> list[str]:
    with closing(Reader([name], _READ_TOGETHER).batches()) as batches:
        return [*chain.from_iterable(batch.lines() for batch in batches)]


def _by_sacrebleu(
    translations: list[str], references: list[list[str]], lang: str | None
) -> tuple[Bleu, Chrf]:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise MissingPackageError(
            f"BLEU and chrF are computed by sacreBLEU, which is not installed ({error}): install "
            f"it with {install_command('evaluate')}. For tokenized text, tokenized=True needs "
            "nothing."
        ) from error
    language = "zh" if lang in _CHINESE else lang or ""
    try:
        bleu = BLEU(trg_lang=language)
    except (RuntimeError, ImportError) as error:
        raise MissingPackageError(
            f"sacreBLEU splits {lang!r} by a tokenizer that is not installed: install it with pip "
            f"install 'sacrebleu[{language}]'."
        ) from error
    score: Any = bleu.corpus_score(translations, references)
    chrf = CHRF()
    characters: Any = chrf.corpus_score(translations, references)
    return (
        Bleu(
            score=score.score,
            precisions=tuple(score.precisions),
            brevity_penalty=score.bp,
            ratio=score.ratio,
            hypothesis_length=score.sys_len,
            reference_length=score.ref_len,
            signature=str(bleu.get_signature()),
        ),
        Chrf(characters.score, characters.name, str(chrf.get_signature())),
    )
