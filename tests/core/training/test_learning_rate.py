"""The inverse square root of the original."""

from __future__ import annotations

import pytest

from xlm_core.errors import ConfigError
from xlm_core.training.learning_rate import InverseSquareRoot


def test_warm_up_and_decay() -> None:
    schedule = InverseSquareRoot(1e-3, 100, 1e-7)
    assert schedule.at(0) == 1e-7
    assert schedule.at(50) == pytest.approx((1e-3 + 1e-7) / 2)
    assert schedule.at(100) == pytest.approx(1e-3)
    assert schedule.at(400) == pytest.approx(5e-4)
    assert InverseSquareRoot(1e-3, 100, exp_factor=1.0).at(400) == pytest.approx(2.5e-4)
    assert InverseSquareRoot(1e-7, 100).at(50) == 1e-7
    with pytest.raises(ConfigError, match=r"learning_rate is 1e-09: .* warmup_init_lr, 1e-07"):
        InverseSquareRoot(1e-9)
    for wrong in ({"warmup_updates": 0}, {"learning_rate": -1.0}, {"exp_factor": float("nan")}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            InverseSquareRoot(**wrong)
