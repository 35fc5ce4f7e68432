"""Lets pytest find the common tests; given to it by `python -m tests.peer`."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, os.environ["XLM_PEER_TESTS"])
# Last: what the project itself depends on comes from its own environment.
sys.path.append(os.environ["XLM_PEER_PACKAGES"])
