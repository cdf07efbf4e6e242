r"""The uncertainty relation of inputs and gradients of a classifier's loss.

The loss at a fixed label, l(x), times an envelope is a wave function psi. The inputs and the
gradients of log psi are conjugate, so under rho = psi^2 their standard deviations have a product

.. math:: \sigma_{x i} \, \sigma_{p i} \ge \tfrac12 |1 - B_i|,

with equality for a Gaussian packet. It holds for every differentiable loss, of an untrained network
too; so by itself it implies no trade-off between accuracy and robustness. The spread of inputs is
not accuracy, that of gradients not the success of an attack, and rho lies where the loss is large.
All three numbers depend on the envelope, on tau and on the coordinates: they are reported with it.

Source: arXiv:2205.01493 and 2402.10983 name the pair (inputs and gradients of the normalised loss),
the norm of psi and the bound 1/2; of both only abstracts and first lines could be read. The
envelopes, the flux, estimators and checks are derived for this package: no published number is
claimed to be reproduced, as the published packet, domain and samples are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from entangle.adversarial.options import one_of
from entangle.errors import InputError
from entangle.training import require_count
from entangle.uncertainty.amplitudes import FunctionAmplitude
from entangle.uncertainty.choice import Bounds, Choice, Chosen
from entangle.uncertainty.estimation import BLOCKS, Plan, require_quadrature
from entangle.uncertainty.quadrature import LIMIT
from entangle.uncertainty.result import UncertaintyRelation
from entangle.uncertainty.subjects import Classified, as_origins
from entangle.uncertainty.verdict import Report, relation_of

__all__ = ["amplitude_relation", "uncertainty_relation"]

METHODS = ("auto", "monte-carlo", "quadrature")
DRAWS = 4096


def uncertainty_relation(
    model: object,
    x0: object,
    y: object,
    packet: str = "gaussian",
    *,
    tau: ArrayLike | None = None,
    bounds: Bounds | None = None,
    draws: int | None = None,
    features: Sequence[int] | None = None,
    layer: str | None = None,
    method: str = "auto",
    generator: torch.Generator | None = None,
    confidence: float = 0.95,
    min_ess: float = 100.0,
    batch_size: int = 2048,
) -> UncertaintyRelation:
    """Spreads of inputs and gradients, and their product, in packets of a classifier's loss.

    Parameters
    ----------
    model
        A torch module or function from samples ``(batch, *sample)`` to logits
        ``(batch, classes)``, or a fitted classifier with gradients; evaluated in evaluation mode.
        Each sample's logits depend on it alone, and on nothing random.
    x0
        Samples, shape ``(samples, *sample)``, finite.
    y
        Labels, shape ``(samples,)``: of a classifier as it knows them, of a module class numbers.
        A packet's label stays fixed while its input varies.
    packet
        ``"gaussian"``: one about every sample. ``"kde"``: one a class, about all of its samples.
        ``"box"``: uniform between bounds, one for each sample's label and the features that do
        not vary.
    tau
        Standard deviation of the envelope, a number or one a feature that varies, in the units of
        ``x0`` or of the layer. Default: 0.3 times the standard deviation of all values.
    bounds
        Of a box: (low, high), numbers or one a feature that varies.
    draws
        A packet, at least 64, rounded up to equal blocks of antithetic pairs; of quadrature the
        nodes in all, about. Default: quadrature for up to 3 features, else 4096.
    features
        Flat indices of the features that vary; the others stay as in the sample.
    layer
        Name of a part of the module, as ``named_modules`` lists it: packets of what it gives
        instead of the inputs. It runs once a sample and gives one tensor, samples first; what
        by-passes it keeps the sample's values. The envelope also covers what it cannot give, such
        as negative values behind a ReLU.
    method
        ``"monte-carlo"``, ``"quadrature"`` or ``"auto"``: quadrature if ``draws`` is ``None`` and
        at most 3 features vary.
    generator
        Of the draws. Default: seed 0.
    confidence
        Of the intervals.
    min_ess
        Effective draws below which a packet is refused.
    batch_size
        Nodes evaluated at once, about.

    Returns
    -------
    UncertaintyRelation
        With ``valid`` false for packets that may not be believed; means leave them out.

    Raises
    ------
    InputError
        If something cannot be used: what was expected, what came, and the repair.

    Examples
    --------
    >>> module = torch.nn.Linear(2, 2, bias=False).double()
    >>> _ = module.load_state_dict({"weight": torch.tensor([[1.0, 0.0], [0.0, 0.0]])})
    >>> found = uncertainty_relation(module, [[0.0, 0.0]], [0], tau=1.0)
    >>> [f"{value:.5f}" for value in found.product[0]]  # along the weight, and across
    ['0.50013', '0.50000']
    """
    choice = Choice(packet, tau, bounds, features)
    with Classified.evaluated(model, x0, y, layer) as classified:
        chosen = choice.around(classified.origins, classified.labels)
        plan = _plan(chosen, draws, method, generator, batch_size)
        report = _report(packet, layer, confidence, min_ess)
        return relation_of(classified.amplitude(chosen), chosen, plan, report)


def amplitude_relation(
    amplitude: Callable[[Tensor], Tensor],
    x0: object,
    packet: str = "gaussian",
    *,
    logarithm: bool = True,
    tau: ArrayLike | None = None,
    bounds: Bounds | None = None,
    draws: int | None = None,
    features: Sequence[int] | None = None,
    method: str = "auto",
    generator: torch.Generator | None = None,
    confidence: float = 0.95,
    min_ess: float = 100.0,
    batch_size: int = 2048,
) -> UncertaintyRelation:
    """Relation for any amplitude instead of a classifier's loss, in double precision.

    Parameters
    ----------
    amplitude
        From nodes ``(nodes, *sample)`` to numbers ``(nodes,)``, each of its own node alone; what
        multiplies the envelope.
    logarithm
        Whether it gives the logarithm of a positive amplitude. Otherwise the amplitude may have
        zeros and signs.
    x0, packet, tau, bounds, draws, features, method, generator, confidence, min_ess, batch_size
        As for :func:`uncertainty_relation`; all samples are of one class.

    Raises
    ------
    InputError
        If something cannot be used, or the amplitude is 0 everywhere.

    Examples
    --------
    >>> ground = lambda x: -x[:, 0] ** 2 / 4  # exp(-x^2 / 4) is a Gaussian of width 1
    >>> found = amplitude_relation(ground, [[0.0]], "box", bounds=(-12, 12))
    >>> f"{found.product[0, 0]:.6f}"
    '0.500000'
    """
    choice = Choice(packet, tau, bounds, features)
    chosen = choice.around(as_origins(x0, None, torch.float64), None)
    plan = _plan(chosen, draws, method, generator, batch_size)
    report = _report(packet, None, confidence, min_ess)
    return relation_of(FunctionAmplitude(amplitude, logarithm), chosen, plan, report)


def _plan(
    chosen: Chosen,
    draws: int | None,
    method: str,
    generator: torch.Generator | None,
    batch_size: int,
) -> Plan:
    one_of("method", method, METHODS)
    require_count("batch_size", batch_size)
    n_features = chosen.packet.centres.shape[1]
    quadrature = method == "quadrature" or (
        method == "auto" and draws is None and n_features <= LIMIT
    )
    if draws is not None:
        require_count("draws", draws)
        if draws < 2 * BLOCKS:
            raise InputError(
                f"draws is at least {2 * BLOCKS}, a pair for each of {BLOCKS} blocks that errors "
                f"are made from, got {draws}; {DRAWS} is usual"
            )
    if quadrature:
        require_quadrature(n_features)
    elif draws is None:
        draws = DRAWS
    source = torch.Generator().manual_seed(0) if generator is None else generator
    return Plan(draws, quadrature, source, batch_size)


def _report(packet: str, layer: str | None, confidence: Any, min_ess: Any) -> Report:
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, got {confidence!r}; 0.95 is usual")
    if not min_ess >= 0:
        raise InputError(f"min_ess is at least 0, got {min_ess!r}; 100 is usual")
    return Report(packet, layer, float(confidence), float(min_ess))
