"""The uncertainty relation of inputs and gradients: measured, with its errors and its refusals.

:func:`uncertainty_relation` answers for any classifier with gradients, :func:`amplitude_relation`
for any function; :class:`UncertaintyTracker` follows both spreads through a training, beside clean
and robust accuracy, and :class:`PacketAttack` attacks along the displacement of a packet, without
gradients.
"""

from entangle.uncertainty.relation import amplitude_relation, uncertainty_relation
from entangle.uncertainty.result import MeanInterval, UncertaintyRelation

__all__ = [
    "MeanInterval",
    "UncertaintyRelation",
    "amplitude_relation",
    "uncertainty_relation",
]
