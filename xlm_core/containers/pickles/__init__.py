"""Pickles of plain values: a machine that executes nothing, and what writes them."""

from xlm_core.containers.pickles.machine import load
from xlm_core.containers.pickles.writing import pickled

__all__ = ["load", "pickled"]
