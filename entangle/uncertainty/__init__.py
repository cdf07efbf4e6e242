"""The uncertainty relation of inputs and gradients: measured, with its errors and its refusals.

:func:`uncertainty_relation` answers for any classifier with gradients, :func:`amplitude_relation`
for any function; :class:`UncertaintyTracker` follows both spreads through a training, beside clean
and robust accuracy, and :class:`PacketAttack` attacks along the displacement of a packet, without
gradients.
"""

from entangle.uncertainty.displacement import PacketAttack
from entangle.uncertainty.relation import amplitude_relation, uncertainty_relation
from entangle.uncertainty.result import MeanInterval, UncertaintyRelation
from entangle.uncertainty.sweeps import tau_sweep, uncertainty_summary
from entangle.uncertainty.tracker import TrackedEpoch, UncertaintyTracker

__all__ = [
    "MeanInterval",
    "PacketAttack",
    "TrackedEpoch",
    "UncertaintyRelation",
    "UncertaintyTracker",
    "amplitude_relation",
    "tau_sweep",
    "uncertainty_relation",
    "uncertainty_summary",
]
