"""Processes that hold a tokenizer: the name by which programs import the pool."""

from xlm_core.tokenization.workers.pool import TokenizerPool

__all__ = ["TokenizerPool"]
