"""Prove that two frameworks, or two checkpoints, compute the same: `xlm verify`."""

from conversion.verification.checkpoint import verify
from conversion.verification.pair import verify_pair

__all__ = ["verify", "verify_pair"]
