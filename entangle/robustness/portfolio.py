"""The quick attacks of a comparison, which trains and attacks many models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from entangle.adversarial import APGD, Attack, Square, TargetedAPGD

__all__ = ["FAST", "attacks_wanted"]

FAST: tuple[Attack, ...] = (
    APGD(steps=50),
    TargetedAPGD(steps=50, targets=3),
    Square(queries=500),
)


def attacks_wanted(attack: str | Attack | Sequence[str | Attack]) -> list[str | Attack]:
    """Attacks from what a user passes: ``"fast"``, or as for ``robustness_curve``."""
    if isinstance(attack, str) and attack == "fast":
        return list(FAST)
    several: Any = [attack] if isinstance(attack, str | Attack) else attack
    return list(several)
