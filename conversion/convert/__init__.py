"""Write a checkpoint in another layout, bit for bit: `xlm convert`."""

from conversion.convert.checkpoint import convert, read_back, weights_of
from conversion.reports.conversion import Summary

__all__ = ["Summary", "convert", "read_back", "weights_of"]
