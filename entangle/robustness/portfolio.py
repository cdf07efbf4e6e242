"""The quick attacks of a comparison, which trains and attacks many models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from entangle.adversarial import APGD, ATTACKS, Attack, Square, TargetedAPGD
from entangle.adversarial.options import one_of

__all__ = ["FAST", "attacks_wanted"]

FAST: tuple[Attack, ...] = (
    APGD(steps=50),
    TargetedAPGD(steps=50, targets=3),
    Square(queries=500),
)


def attacks_wanted(attack: str | Attack | Sequence[str | Attack]) -> list[str | Attack]:
    """Attacks from what a user passes, checked before any work.

    Parameters
    ----------
    attack
        ``"fast"``, ``"standard"``, another name, an attack, or several of these.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    several: Any = [attack] if isinstance(attack, str | Attack) else attack
    found: list[str | Attack] = []
    for given in several:
        if isinstance(given, Attack):
            found.append(given)
        elif one_of("attack", given, ["fast", "standard", *ATTACKS]) == "fast":
            found += FAST
        else:
            found.append(given)
    return found
