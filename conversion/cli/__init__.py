"""The `xlm` command line: it reads arguments, calls the tools, and prints their reports."""

from conversion.cli.command import main

__all__ = ["main"]
