"""Pretraining by command: what a training run needs beside its framework."""
