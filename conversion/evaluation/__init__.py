"""Compare translations with references: `xlm evaluate`."""

from conversion.evaluation.evaluating import evaluate
from conversion.evaluation.figures import Bleu, Chrf, Evaluation

__all__ = ["Bleu", "Chrf", "Evaluation", "evaluate"]
