"""The public name of `TokenizerPool`."""

from xlm_core.tokenization.workers.pool import TokenizerPool

__all__ = ["TokenizerPool"]
