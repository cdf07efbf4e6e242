"""Pictures of profiles and comparisons, drawn on axes that the caller owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from entangle.spectra.jacobian_maps import JacobianMap

__all__ = [
    "draw_accuracies",
    "draw_accuracy_against",
    "draw_entropies_under_attack",
    "draw_jacobian_map",
    "draw_levels",
    "draw_relations",
    "draw_robustness",
    "draw_uncertainty",
]

COLOURS = {"as given": "#c44e52", "rearranged": "#1f77b4", "random": "#8c8c8c"}
MODEL_COLOURS = ("#1f77b4", "#c44e52", "#55a868", "#8172b2", "#dd8452", "#64b5cd")
MARKERS = "osD^vP"
NAME_WIDTH = 0.4  # of the range of the places


def draw_levels(
    axes: Axes,
    levels: Sequence[int],
    curves: Mapping[str, ArrayLike],
    random: ArrayLike | None = None,
) -> None:
    """Draw mean entropies by level: a line for each order, a band for random orders.

    Parameters
    ----------
    axes
        Where to draw.
    levels
        Levels, shape ``(levels,)``.
    curves
        Entropies in nats, shape ``(levels,)``, by the name of the order.
    random
        Entropies of random orders, shape ``(orders, levels)``. The line is their mean, the
        band reaches from the lowest to the highest.
    """
    if random is not None:
        values = np.asarray(random)
        low, high = values.min(axis=0), values.max(axis=0)
        label = f"random ({len(values)} orders)"
        axes.fill_between(levels, low, high, color=COLOURS["random"], alpha=0.3, linewidth=0)
        axes.plot(
            levels, values.mean(axis=0), "s--", color=COLOURS["random"], label=label, markersize=5
        )
    for name, entropies in curves.items():
        axes.plot(levels, np.asarray(entropies), "o-", color=COLOURS.get(name), label=name)
    axes.set_xticks(list(levels))
    axes.set_xlabel("level of the canonical partition (1 = coarsest)")
    axes.set_ylabel("mean entanglement entropy (nats)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def draw_accuracies(
    axes: Axes,
    orderings: Sequence[str],
    resampled: Mapping[str, ArrayLike],
    intervals: Mapping[str, ArrayLike],
) -> None:
    """Draw test accuracies by ordering: a dot a resample, the mean and its interval.

    Intervals are of the means, so two may overlap where the paired difference is significant.

    Parameters
    ----------
    axes
        Where to draw.
    orderings
        Their names.
    resampled
        Accuracies from 0 to 1, shape ``(orderings, resamples)``, by model.
    intervals
        Low and high ends, shape ``(orderings, 2)``, by model; NaN where there is none.
    """
    places = np.arange(len(orderings), dtype=np.float64)
    step = 0.6 / max(len(resampled), 1)
    for number, (model, accuracies) in enumerate(resampled.items()):
        values = 100 * np.asarray(accuracies, dtype=np.float64)
        x = places + step * (number - (len(resampled) - 1) / 2)
        colour, marker = _style(number)
        axes.plot(
            np.repeat(x - step / 5, values.shape[1]), values.ravel(), ".", color=colour, alpha=0.35
        )
        _draw_means(axes, x, values.mean(axis=1), intervals[model], colour, marker, model)
    axes.set_xticks(places, list(orderings))
    axes.set_xlim(-0.5, len(orderings) - 0.5)
    axes.set_xlabel("ordering of the features")
    _finish_accuracies(axes, len(resampled))


def draw_accuracy_against(
    axes: Axes,
    orderings: Sequence[str],
    entanglement: ArrayLike,
    resampled: Mapping[str, ArrayLike],
    intervals: Mapping[str, ArrayLike],
    label: str,
) -> None:
    """Draw mean test accuracy against the entanglement of each ordering, named above the axes.

    Parameters
    ----------
    axes
        Where to draw.
    orderings, resampled, intervals
        As for :func:`draw_accuracies`.
    entanglement
        Of each ordering, shape ``(orderings,)``.
    label
        What it is, with its unit.
    """
    x = np.asarray(entanglement, dtype=np.float64)
    for number, (model, accuracies) in enumerate(resampled.items()):
        means = 100 * np.asarray(accuracies, dtype=np.float64).mean(axis=1)
        _draw_means(axes, x, means, intervals[model], *_style(number), model)
    _draw_names(axes, orderings, x)
    axes.margins(x=0.2)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(label)
    _finish_accuracies(axes, len(resampled))


def draw_robustness(
    axes: Axes,
    radii: Sequence[float],
    accuracies: Mapping[str, ArrayLike],
) -> None:
    """Draw accuracy against the radius of an attack: a line and a band for each ordering.

    Bands are intervals of the means, so two may overlap where the paired difference is
    significant.

    Parameters
    ----------
    axes
        Where to draw.
    radii
        From 0 on, shape ``(radii,)``.
    accuracies
        Mean, low and high end, from 0 to 1, shape ``(radii, 3)``, by ordering; NaN where there
        is no interval.
    """
    for number, (name, values) in enumerate(accuracies.items()):
        shares = np.clip(100 * np.asarray(values, dtype=np.float64), 0.0, 100.0)
        _draw_band(axes, radii, shares, number, name)
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.set_ylabel("accuracy of attacked rows (%)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def draw_entropies_under_attack(
    axes: Axes,
    radii: Sequence[float],
    entropies: Mapping[str, ArrayLike],
    controls: Mapping[str, ArrayLike],
) -> None:
    """Draw the entanglement of attacked rows against the radius, one line an ordering.

    Parameters
    ----------
    axes
        Where to draw.
    radii
        From 0 on, shape ``(radii,)``.
    entropies
        Mean, low and high end in nats, shape ``(radii, 3)``, by ordering; the ends are those of
        the change.
    controls
        Entropies after steps of the same sizes in random directions, shape ``(radii,)``.
    """
    for number, (name, values) in enumerate(entropies.items()):
        _draw_band(axes, radii, np.asarray(values, dtype=np.float64), number, name)
        if name in controls:
            axes.plot(radii, controls[name], "--", color=_style(number)[0], linewidth=1)
    if controls:
        axes.plot([], [], "--", color="#8c8c8c", linewidth=1, label="same steps, random signs")
    axes.set_xlim(left=0)
    axes.set_ylabel("mean entropy, levels 1-4 (nats)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def draw_relations(axes: Axes, relations: Mapping[str, Mapping[str, ArrayLike]]) -> None:
    """Draw parts of the uncertainty relation side by side, one marker an ordering.

    Parameters
    ----------
    axes
        Where to draw.
    relations
        Mean, low and high end of each part by its name, by ordering; 1 is what the packet alone
        has, which the dashed line marks.
    """
    names = list(next(iter(relations.values())))
    for number, (ordering, parts) in enumerate(relations.items()):
        colour, marker = _style(number)
        mean, low, high = np.array([parts[name] for name in names], dtype=np.float64).T
        places = np.arange(len(names)) + 0.15 * (number - (len(relations) - 1) / 2)
        reach = np.nan_to_num(np.abs([mean - low, high - mean]))
        axes.errorbar(
            places, mean, reach, fmt=marker, color=colour, markersize=5, capsize=3, label=ordering
        )
    axes.axhline(1.0, linestyle="--", color="#8c8c8c", linewidth=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylabel("ratio to the packet alone")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_band(
    axes: Axes, x: Sequence[float], values: NDArray[np.floating], number: int, label: str
) -> None:
    """Draw a line of means, and a band between the ends where there are any."""
    colour, marker = _style(number)
    means, low, high = values.T
    axes.fill_between(x, low, high, facecolor=(colour, 0.1), edgecolor=(colour, 0.5), linewidth=0.6)
    axes.plot(x, means, f"{marker}-", color=colour, markersize=5, label=label, clip_on=False)


def _draw_names(axes: Axes, names: Sequence[str], x: NDArray[np.floating]) -> None:
    """Write names above the axes, over their places, those of close places in several lines."""
    near = NAME_WIDTH * max(float(np.ptp(x)), 1e-12)
    lines: list[float] = []  # where the last name of each line stands
    for place, name in sorted(zip(x.tolist(), names, strict=True)):
        free = (line for line, last in enumerate(lines) if place - last >= near)
        line = next(free, len(lines))
        lines[line : line + 1] = [place]
        axes.annotate(
            name, (place, 1.0), (0, 3 + 12 * line), xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", ha="center", va="bottom",
        )  # fmt: skip


def _style(number: int) -> tuple[str, str]:
    return MODEL_COLOURS[number % len(MODEL_COLOURS)], MARKERS[number % len(MARKERS)]


def _draw_means(
    axes: Axes,
    x: NDArray[np.floating],
    means: NDArray[np.floating],
    interval: ArrayLike,
    colour: str,
    marker: str,
    label: str,
) -> None:
    """Draw means in per cent, with their intervals where there are any, cut at 0 and 100."""
    ends = np.clip(100 * np.asarray(interval, dtype=np.float64), 0.0, 100.0)
    reach = np.nan_to_num(np.abs(ends - means[:, None]).T)
    axes.errorbar(
        x, means, reach, fmt=marker, color=colour, capsize=3, markersize=5, linestyle="none",
        label=label,
    )  # fmt: skip


def _finish_accuracies(axes: Axes, n_models: int) -> None:
    axes.set_ylabel("test accuracy (%)")
    if n_models > 1:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def draw_uncertainty(panels: Sequence[Axes], curves: Mapping[str, ArrayLike]) -> None:
    """Draw three panels by epoch: both spreads, their product and its bound, accuracies.

    Parameters
    ----------
    panels
        Three axes.
    curves
        Of :meth:`entangle.uncertainty.UncertaintyTracker.curves`: ``number``, ``sigma_x``,
        ``sigma_p``, ``product``, ``bound``, ``clean``, ``fgsm`` and ``pgd``, each of shape
        ``(looks,)``.
    """
    spreads, product, accuracy = panels
    epochs = np.asarray(curves["number"])
    other = spreads.twinx()
    sides = ((spreads, "sigma_x", "spread of inputs"), (other, "sigma_p", "spread of gradients"))
    for number, (axes, name, label) in enumerate(sides):
        colour, marker = _style(number)
        axes.plot(epochs, np.asarray(curves[name]), f"{marker}-", color=colour, markersize=4)
        axes.set_ylabel(label, color=colour)
        axes.tick_params(axis="y", colors=colour)
        axes.ticklabel_format(axis="y", useOffset=False)
    product.plot(epochs, np.asarray(curves["product"]), "o-", color=_style(0)[0], label="product")
    product.plot(epochs, np.asarray(curves["bound"]), "--", color=COLOURS["random"], label="bound")
    product.set_ylabel("product of both spreads")
    for number, (name, label) in enumerate((("clean", "clean"), ("fgsm", "FGSM"), ("pgd", "PGD"))):
        colour, marker = _style(number)
        values = 100 * np.asarray(curves[name])
        accuracy.plot(epochs, values, f"{marker}-", color=colour, label=label, markersize=4)
    accuracy.set_ylabel("accuracy (%)")
    accuracy.set_ylim(0, 102)
    product.set_ylim(0, 1.1 * product.get_ylim()[1])
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.spines["top"].set_visible(False)
    other.spines["top"].set_visible(False)
    for axes in (product, accuracy):
        axes.spines["right"].set_visible(False)
        axes.legend(frameon=False)


def draw_jacobian_map(panels: Sequence[Axes], found: JacobianMap) -> None:
    """Draw two panels: norms of the Jacobian on a plane, and classes, paler where in doubt.

    Parameters
    ----------
    panels
        Two axes.
    found
        Of :func:`entangle.spectra.jacobian_norm_map`. Crosses are the samples it goes through.
    """
    norms, classes = panels
    side = found.coordinates
    image = norms.pcolormesh(side, side, found.norms.T, shading="nearest", rasterized=True)
    norms.figure.colorbar(image, ax=norms, label="norm of the Jacobian")
    known, numbers = np.unique(found.classes, return_inverse=True)
    colours = np.array([matplotlib.colormaps["tab10"](label % 10) for label in known])
    colours = colours[numbers.reshape(found.classes.shape)]
    colours[..., 3] = found.confidence
    classes.pcolormesh(side, side, colours.swapaxes(0, 1), shading="nearest", rasterized=True)
    for axes, colour in ((norms, "white"), (classes, "black")):
        axes.plot(*found.given.T, "x", color=colour)
        axes.set_aspect("equal")
        axes.set_xlabel("first direction")
        axes.set_ylabel("second direction")
    for label in known:
        x, y = side[np.argwhere(found.classes == label)].mean(axis=0)
        classes.text(x, y, str(label), ha="center", va="center")
