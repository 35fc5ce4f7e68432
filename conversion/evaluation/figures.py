"""What comparing translations with references gives, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from conversion.reports.json_text import json_text

# The signature of BLEU that was not computed by sacreBLEU.
MULTI_BLEU = "multi-bleu"


@dataclass(frozen=True)
class Bleu:
    """BLEU of a corpus.

    Attributes:
        score: In [0, 100].
        precisions: Of n-grams of 1 to 4 words, in [0, 100].
        brevity_penalty: What short translations cost, in [0, 1].
        ratio: Words of the translations, as a share of those of the references.
        hypothesis_length: Words of the translations.
        reference_length: Words of the references, for each line those of the one that is nearest
            in length.
        signature: How it was computed: sacreBLEU's, or `MULTI_BLEU`.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    ratio: float
    hypothesis_length: int
    reference_length: int
    signature: str

    def text(self) -> str:
        """One line, in the words of multi-bleu.perl."""
        if self.signature == MULTI_BLEU and not self.reference_length:
            # What the script says of references without a word, whatever was translated.
            return "BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"
        precisions = "/".join(f"{each:.1f}" for each in self.precisions)
        return (
            f"BLEU = {self.score:.2f}, {precisions} (BP={self.brevity_penalty:.3f}, "
            f"ratio={self.ratio:.3f}, hyp_len={self.hypothesis_length}, "
            f"ref_len={self.reference_length})"
        )


@dataclass(frozen=True)
class Chrf:
    """chrF of a corpus.

    Attributes:
        score: In [0, 100].
        name: With its parameters, such as "chrF2".
        signature: sacreBLEU's.
    """

    score: float
    name: str
    signature: str

    def text(self) -> str:
        """One line."""
        return f"{self.name} = {self.score:.2f}"


@dataclass(frozen=True)
class Evaluation:
    """Translations compared with references.

    Attributes:
        hypothesis: The file of translations.
        references: The files of references.
        lines: Lines of each.
        bleu: BLEU.
        chrf: chrF; None for tokenized text.
    """

    hypothesis: str
    references: tuple[str, ...]
    lines: int
    bleu: Bleu
    chrf: Chrf | None

    def text(self) -> str:
        """Figures and signatures, a line each; for tokenized text the figure alone."""
        if self.chrf is None:
            return self.bleu.text()
        lines = [self.bleu.text(), f"  {self.bleu.signature}"]
        return "\n".join([*lines, self.chrf.text(), f"  {self.chrf.signature}"])

    def json(self) -> str:
        """As docs/json.md describes it."""
        return json_text("evaluate", asdict(self))
