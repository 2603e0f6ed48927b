"""The core's numbers come from the settings."""

from __future__ import annotations

from dataclasses import fields

from engine.runtime.assembly import policy_of
from engine.scheduling.state import Policy
from settings import Settings, load


def test_every_number_that_is_a_setting_reaches_the_core() -> None:
    given = {"losses_max": 7, "window_s": 2.5, "chunk_s": 0.25, "children_max": 3}
    policy = policy_of(load(**given))
    assert {name: getattr(policy, name) for name in given} == given
    assert given.keys() <= {field.name for field in fields(Policy)} & Settings.model_fields.keys()


def test_the_defaults_of_both_agree() -> None:
    assert policy_of(load()).children_max == Policy().children_max
