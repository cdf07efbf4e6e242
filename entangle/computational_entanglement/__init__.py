r"""Computational entanglement: distant samples become parallel in deep linear maps.

Multiply a sample by many random rows, keep the rows that respond most, and repeat. After some
layers every other sample, however far it was, is parallel or antiparallel to that one. The paper
calls this the entanglement of distant features, and takes it as a reason why adversarial examples
exist.

**It is no quantum effect.** Every layer is an ordinary matrix, and a product of such matrices
converges to rank one: the ratio of its second to its first singular value falls like
:math:`e^{-\Lambda l}`. A map of rank one sends all samples to one line, hence the two branches.
Nothing is measured, there are no states of joint systems, and no Bell inequality is at stake. It
is not the entanglement that :func:`entangle.entanglement_entropy` measures, either. Selecting rows
makes the rate large and predictable; that is what this package computes, measures, and compares
with trained networks.

====================================  =============================================================
``encode``, ``LikelihoodEncoder``     one layer, and many
``Paths``                             angles, distances, signs, exponent, layer by layer
``exponent``, ``layers_until``        what will happen, before it is run
``branch_probability``,               on which side a pair ends
``crossing_probability``
``reconcile``, ``send_message``       the published demonstrations
``descend``, ``descended``            gradient descent on one sample, and its closed form
``verify_pairs``                      pairs of one class against pairs of two
``network_paths``,                    the same collapse in any torch model
``jacobian_collapse``,
``product_collapse``
``flip_correlation``                  whether samples that collapse flip first
====================================  =============================================================

Source: arXiv:2309.15669, from its published code; theorems and tables of the paper were not at
hand, so the theory is derived here and checked by simulation.
"""

from entangle.computational_entanglement.collapse import (
    Collapse,
    linear_weights,
    product_collapse,
)
from entangle.computational_entanglement.descent import descend, descended, descent_factor
from entangle.computational_entanglement.encoder import Layer, LikelihoodEncoder
from entangle.computational_entanglement.flips import RankCorrelation, flip_correlation
from entangle.computational_entanglement.jacobians import jacobian_collapse
from entangle.computational_entanglement.measures import Paths, Slope
from entangle.computational_entanglement.network_pairs import (
    NetworkPaths,
    network_paths,
    rivals,
)
from entangle.computational_entanglement.prediction import (
    branch_probability,
    crossing_probability,
    exponent,
    large_k_exponent,
    layers_until,
    noise_variances,
)
from entangle.computational_entanglement.reconciliation import (
    Message,
    Reconciliation,
    bit_error_rate,
    reconcile,
    reconciliation_depth,
    send_message,
)
from entangle.computational_entanglement.selection import Encoding, encode
from entangle.computational_entanglement.verification import Verification, verify_pairs

__all__ = [
    "Collapse",
    "Encoding",
    "Layer",
    "LikelihoodEncoder",
    "Message",
    "NetworkPaths",
    "Paths",
    "RankCorrelation",
    "Reconciliation",
    "Slope",
    "Verification",
    "bit_error_rate",
    "branch_probability",
    "crossing_probability",
    "descend",
    "descended",
    "descent_factor",
    "encode",
    "exponent",
    "flip_correlation",
    "jacobian_collapse",
    "large_k_exponent",
    "layers_until",
    "linear_weights",
    "network_paths",
    "noise_variances",
    "product_collapse",
    "reconcile",
    "reconciliation_depth",
    "rivals",
    "send_message",
    "verify_pairs",
]
