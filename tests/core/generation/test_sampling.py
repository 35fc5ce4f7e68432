"""The random numbers of sampling."""

from __future__ import annotations

import numpy as np
import pytest

from xlm_core.errors import InputError
from xlm_core.generation import uniform_numbers


def test_a_number_depends_on_its_seed_row_and_step_alone() -> None:
    numbers = uniform_numbers(7, rows=4, steps=6)
    assert numbers.shape == (4, 6)
    assert ((numbers >= 0) & (numbers < 1)).all()
    np.testing.assert_array_equal(uniform_numbers(7, rows=2, steps=3), numbers[:2, :3])
    assert len(np.unique(numbers)) == 24
    assert not np.isin(uniform_numbers(8, rows=4, steps=6), numbers).any()


def test_they_stay_what_they_are() -> None:
    # numpy keeps the streams of its generators; these make results repeatable over versions.
    expected = np.random.Generator(np.random.Philox(key=[3, 1])).random(2)
    np.testing.assert_array_equal(uniform_numbers(3, rows=2, steps=2)[1], expected)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "1", None])
def test_what_is_no_seed(seed: object) -> None:
    with pytest.raises(InputError, match="seed is"):
        uniform_numbers(seed, rows=1, steps=1)  # type: ignore[arg-type]


def test_a_seed_may_be_numpys() -> None:
    assert uniform_numbers(np.int64(5), 1, 1) == uniform_numbers(5, 1, 1)  # type: ignore[arg-type]
