"""transformers' ConfigTester for XLM's configuration, each of its checks a test."""

from __future__ import annotations

import unittest

import pytest
from peer_tests.test_configuration_common import ConfigTester

from tests.peer.subject import subject

if subject() == "theirs":
    from transformers import XLMConfig
else:
    from xlm_core import XLMConfig

_CHECKS = [name for name in vars(ConfigTester) if name.startswith(("create_and_test_", "check_"))]


@pytest.mark.parametrize("check", _CHECKS)
def test_config(check: str) -> None:
    tester = ConfigTester(unittest.TestCase(), config_class=XLMConfig, emb_dim=32)
    getattr(tester, check)()
