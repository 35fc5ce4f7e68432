"""Pickles of plain values: a machine that executes nothing, and what writes them."""
