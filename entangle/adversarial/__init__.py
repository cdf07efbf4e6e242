"""Adversarial evaluation: what a model's accuracy is worth when somebody may change its input.

:func:`robustness_curve` answers in one call, for any torch module or classifier and samples of any
shape. Attacks are frozen dataclasses that are called with a module, samples, labels and a
:class:`ThreatModel`; :func:`pgd` is the short one for training loops.
"""

from entangle.adversarial.apgd import APGD, TargetedAPGD
from entangle.adversarial.attack import Attack
from entangle.adversarial.category_search import CategorySearch
from entangle.adversarial.curves import robustness_curve
from entangle.adversarial.fmn import FMN
from entangle.adversarial.masking import Finding, MaskingReport
from entangle.adversarial.minimal import minimal_perturbation
from entangle.adversarial.portfolio import ATTACKS
from entangle.adversarial.result import RobustnessCurve
from entangle.adversarial.signed_steps import FGSM, PGD, pgd
from entangle.adversarial.square import Square
from entangle.adversarial.threat import ThreatModel

__all__ = [
    "APGD",
    "ATTACKS",
    "FGSM",
    "FMN",
    "PGD",
    "Attack",
    "CategorySearch",
    "Finding",
    "MaskingReport",
    "RobustnessCurve",
    "Square",
    "TargetedAPGD",
    "ThreatModel",
    "minimal_perturbation",
    "pgd",
    "robustness_curve",
]
