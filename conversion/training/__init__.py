"""Train a model as a file says: `xlm pretrain`."""

from conversion.training.dry_run import DryRun, dry_run
from conversion.training.run import pretrain

__all__ = ["DryRun", "dry_run", "pretrain"]
