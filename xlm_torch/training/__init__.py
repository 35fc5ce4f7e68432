"""Training on the objectives of `xlm_core.objectives`."""

from xlm_torch.training.collating import ObjectiveCollator
from xlm_torch.training.losses import WithObjectives
from xlm_torch.training.reading import GlobalBatches, tensors_of
from xlm_torch.training.run import TrainingRun

__all__ = ["GlobalBatches", "ObjectiveCollator", "TrainingRun", "WithObjectives", "tensors_of"]
