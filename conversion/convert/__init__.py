"""Write a checkpoint in another layout, bit for bit: `xlm convert`."""

from conversion.convert.checkpoint import Summary, convert, read_back, weights_of

__all__ = ["Summary", "convert", "read_back", "weights_of"]
