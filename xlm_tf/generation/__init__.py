"""`generate`: greedy search, beam search and sampling."""

from xlm_tf.generation.generate import GenerationMixin
from xlm_tf.generation.prompts import Beginning, of_encoder_decoder, of_language_model

__all__ = ["Beginning", "GenerationMixin", "of_encoder_decoder", "of_language_model"]
