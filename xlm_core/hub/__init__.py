"""Published checkpoints by name: their names, and their files in huggingface_hub's cache."""

from xlm_core.hub.fetching import fetch
from xlm_core.hub.names import PUBLISHED, is_hub_name, quirks
from xlm_core.hub.wanted import WantedFiles

__all__ = ["PUBLISHED", "WantedFiles", "fetch", "is_hub_name", "quirks"]
