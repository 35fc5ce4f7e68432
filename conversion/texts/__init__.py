"""Texts through a model, line by line: `xlm fill-mask`, `xlm score`, `xlm encode`."""

from conversion.texts.files import encode_files, fill_mask_files, score_files
from conversion.texts.options import ModelSource, Reading

__all__ = ["ModelSource", "Reading", "encode_files", "fill_mask_files", "score_files"]
