"""Learn the subwords of a tokenizer from text: `xlm learn-bpe` and `xlm build-vocab`."""

from conversion.vocabulary.counting import Counted, TextOptions
from conversion.vocabulary.learning import Learned, build_vocabulary, learn_bpe

__all__ = ["Counted", "Learned", "TextOptions", "build_vocabulary", "learn_bpe"]
