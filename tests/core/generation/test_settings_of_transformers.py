"""Every setting of transformers' generation is followed, changes nothing, or is refused by name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import transformers

from xlm_core.errors import UnknownArgumentError
from xlm_core.generation import GenerationConfig
from xlm_core.generation.config import INERT, SETTINGS, UNSUPPORTED, refuse_setting

DEFAULTS = vars(transformers.GenerationConfig())
# What transformers 5 has beyond: of none of them anything is said by default.
OF_VERSION_5 = {
    "use_mtp", "max_cache_len", "top_h", "assistant_ensemble_weight", "speculation_type",
    "continuous_batching_config",
}  # fmt: skip
# What `generate` has by itself, in both families.
OWN = {"self", "kwargs", "inputs", "generation_config", "stopping_criteria", "streamer"}


def test_none_is_unknown() -> None:
    arguments = inspect.signature(transformers.GenerationMixin.generate).parameters
    names = {*DEFAULTS, *arguments, *OF_VERSION_5} - OWN
    assert names - {*INERT, *UNSUPPORTED, *SETTINGS} == set()
    assert {*INERT} & {*UNSUPPORTED} == {*SETTINGS} & {*INERT, *UNSUPPORTED} == set()


@pytest.mark.parametrize("name", sorted({*DEFAULTS, *OF_VERSION_5, *UNSUPPORTED} - {*SETTINGS}))
def test_a_default_changes_nothing(name: str) -> None:
    refuse_setting("generate", name, DEFAULTS.get(name))


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_followed_is_refused_by_name(name: str) -> None:
    for value in (0.3, True, [[3, 4]], object()):
        with pytest.raises(UnknownArgumentError, match=f"does not take {name}=.*transformers"):
            refuse_setting("generate", name, value)


def test_a_configuration_of_transformers_as_it_is() -> None:
    given: Any = transformers.GenerationConfig(num_beams=3, max_length=9, top_k=5)
    found = GenerationConfig.of(given).to_dict()
    assert {name: found[name] for name in ("num_beams", "max_length", "top_k")} == {
        "num_beams": 3,
        "max_length": 9,
        "top_k": 5,
    }


def test_fields_are_set_as_in_transformers() -> None:
    ours, theirs = GenerationConfig(num_beams=3), transformers.GenerationConfig(num_beams=3)
    for settings in ({"num_beams": 2, "max_length": 9, "no_such": 1}, {"do_sample": True}):
        assert ours.update(**settings) == theirs.update(**settings)
    assert (ours.num_beams, ours.max_length, ours.do_sample) == (2, 9, True)
    ours.update(defaults_only=True, num_beams=5, top_k=7)
    assert (ours.num_beams, ours.top_k) == (2, 7)
    assert ours.update(allow_custom_entries=True, mine=1) == {}
    assert ours.extra == {"mine": 1}
