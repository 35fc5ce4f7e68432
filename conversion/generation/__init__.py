"""Texts that a model writes, a line for each line: `xlm translate`, `xlm generate`."""

from conversion.generation.files import generate_files, translate_files
from conversion.generation.options import Model, Search, TextOptions, WrittenAs

__all__ = ["Model", "Search", "TextOptions", "WrittenAs", "generate_files", "translate_files"]
