"""Every number that an objective can be given has a range, and what is out of it is said."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from etude.config.kinds import kind_class, kinds
from etude.objectives.distill import Distill
from etude.objectives.dpo import DPO
from etude.objectives.ppo import PPO


@pytest.mark.parametrize("kind", kinds("objective"))
def test_every_number_has_a_range_with_the_default_inside(kind: str) -> None:
    chosen = kind_class("objective", kind)
    assert chosen is not None
    made = replace(chosen(), teacher="-") if chosen is Distill else chosen()
    numbers = [item.name for item in fields(made) if isinstance(getattr(made, item.name), int | float)]
    numbers = [name for name in numbers if not isinstance(getattr(made, name), bool)]
    assert sorted(made.ranges) == sorted(numbers)
    assert made.problems() == []
    for name in numbers:
        assert [setting for setting, _ in replace(made, **{name: -1.0}).problems()] == [name]


def test_what_is_wrong_is_said_all_at_once() -> None:
    assert PPO(clip_low=1.5, kl_target=0.0, discount=-1.0).problems() == [
        ("clip_low", "must be from 0 to 1, got 1.5"),
        ("kl_target", "must be above 0, got 0"),
        ("discount", "must be from 0 to 1, got -1"),
    ]
    assert PPO(kl_target=None).problems() == []
    assert DPO(label_smoothing=0.5).problems() == [("label_smoothing", "must be from 0 to below 0.5, got 0.5")]
    assert [name for name, _ in DPO(loss_type="exo_pair").problems()] == ["label_smoothing"]
    assert [name for name, _ in DPO(loss_type="aot", weighting=True, beta=0.0).problems()] == ["beta", "weighting"]
    assert [name for name, _ in Distill(mix=2.0).problems()] == ["teacher", "mix"]
