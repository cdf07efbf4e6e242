"""Attacks by name, and the portfolio that an evaluation runs unless told otherwise.

``"standard"`` is Auto-PGD on cross-entropy (100 steps), then targeted Auto-PGD towards up to nine
classes (100 steps each, fewer where they would not do), then the Square attack (5000 queries), each
on the samples that those before did not fool. In L1 cross-entropy has five starts, five classes are
targeted, and FMN comes before Square, unless categories change; samples that it fools just outside
of the ball are attacked anew with three times the steps, towards nine classes. That is AutoAttack's
standard version but for FAB-T, which finds next to nothing that targeted Auto-PGD does not in Linf
and L2, and what FMN and more steps find in L1.

Source: Croce and Hein 2020, arXiv:2003.01690, section 6; 2021, arXiv:2103.01208 (L1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from entangle.adversarial.apgd import APGD, TargetedAPGD
from entangle.adversarial.attack import Attack
from entangle.adversarial.category_search import CategorySearch
from entangle.adversarial.fmn import FMN
from entangle.adversarial.options import one_of
from entangle.adversarial.signed_steps import FGSM, PGD
from entangle.adversarial.square import Square
from entangle.errors import InputError

__all__ = ["ATTACKS", "by_differences", "resolve_attacks"]

NEAR = 1.1  # radii within which a sample was fooled that is worth more steps


def _standard(norm: str, groups: bool) -> dict[str, Attack]:
    first: dict[str, Attack] = {"categories": CategorySearch()} if groups else {}
    if norm != "l1":
        return first | {"apgd-ce": APGD(), "apgd-t": TargetedAPGD(), "square": Square()}
    found = {"apgd-ce": APGD(restarts=5), "apgd-t": TargetedAPGD(targets=5)}
    nearest: dict[str, Attack] = {}
    if not groups:
        again: dict[str, Attack] = {
            "near-ce": APGD(300, 5, reach=NEAR),
            "near-t": TargetedAPGD(300, reach=NEAR),
        }
        nearest = {"fmn": FMN()} | again
    return first | found | nearest | {"square": Square()}


ATTACKS: dict[str, Callable[[], Attack]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "apgd-ce": APGD,
    "apgd-dlr": lambda: APGD(loss="dlr"),
    "apgd-t": TargetedAPGD,
    "square": Square,
    "fmn": FMN,
}


def resolve_attacks(
    attack: str | Attack | Sequence[str | Attack], norm: str, *, groups: bool
) -> dict[str, Attack]:
    """Attacks in the order in which they run, by name.

    Parameters
    ----------
    attack
        A name, ``"standard"``, an attack, or several of them.
    norm
        Of the threat.
    groups
        Whether categories may change, which the standard portfolio then searches first.

    Raises
    ------
    InputError
        If a name is unknown, or there is none.
    """
    several = attack if isinstance(attack, Sequence) and not isinstance(attack, str) else [attack]
    found: dict[str, Attack] = {}
    for given in several:
        if isinstance(given, Attack):
            name = type(given).__name__.lower()
            while name in found:
                name += "'"
            found[name] = given
        elif one_of("attack", given, ["standard", *ATTACKS]) == "standard":
            found |= _standard(norm, groups)
        else:
            found[given] = ATTACKS[given]()
    if not found:
        raise InputError("attack names at least one attack, got none; 'standard' is usual")
    return found


def by_differences(attacks: dict[str, Attack]) -> dict[str, Attack]:
    """Attacks with fewer steps, of the same names, for gradients that cost many outputs."""
    fewer: dict[type[Attack], Attack] = {
        APGD: APGD(steps=20, loss="dlr"),
        TargetedAPGD: TargetedAPGD(steps=20, targets=3),
        PGD: PGD(steps=10, loss="margin"),
        FMN: FMN(steps=20, polish=3),
    }
    few = {name: fewer.get(type(attack), attack) for name, attack in attacks.items()}
    for name, attack in few.items():
        if isinstance(attack, APGD | TargetedAPGD):
            few[name] = replace(attack, reach=attacks[name].reach)
    return few
