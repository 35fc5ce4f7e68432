"""Training on the objectives of `xlm_core.objectives`."""

from xlm_torch.training.losses import WithObjectives
from xlm_torch.training.reading import GlobalBatches, tensors_of
from xlm_torch.training.run import TrainingRun
from xlm_torch.training.starting import start_from, start_model

__all__ = [
    "GlobalBatches",
    "TrainingRun",
    "WithObjectives",
    "start_from",
    "start_model",
    "tensors_of",
]
