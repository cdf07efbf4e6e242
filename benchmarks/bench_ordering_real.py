"""Feature orders of real data, in which the natural order need not be the best one.

Columns are permuted at random and ordered by ours (correlations, squared covariances, and class
means where there are two classes) and by the peers. Of each order: H (as in ``bench_ordering.py``),
the true entanglement entropy of the data (mean over the levels 1 to 4 of the mean over their cuts,
and level 1; theta 0.085 on features scaled to [0, 1], at most 300 rows, all weights one), that of
the data with balanced labels -1 and +1 where there are two classes, and the share of natural
neighbours that touch. Then which order is lowest how often, and where the natural one is not.

    ENTANGLE_DATA=folder python benchmarks/bench_ordering_real.py [--only NAME ...] [--seeds 3]
        [--out FILE]

Orders are found from 1,000 random rows at most (2,000 of usps). fsdd is every fourth sample up to
1,024 of them: half a second at 2 kHz. An entropy without its error bound, and an order with the
natural blocks but not the natural entropy, are errors.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from cells import Cells, chosen, median, parsed, print_machine, timed
from numpy.typing import NDArray
from peers import METHODS, METIS, OURS, warm_up
from problem import Order, Problem
from threadpoolctl import threadpool_limits

from entangle import DataTensor, entanglement_profile, load_dataset
from entangle.affinity import correlation_affinity
from entangle.embedding import Trigonometric
from entangle.labels import class_weights
from entangle.ordering import mincut_order

THETA, LEVELS, TOLERANCE = 0.085, 4, 1e-6
ENTROPY_ROWS, ROWS = 300, 1000
MORE_ROWS = {"usps": 2000}
BOUNDS = {"H": "", "labelled": "labelled bound", "labelled 1": "labelled bound"}  # else "bound"
ROUNDING = 1e-9

GRIDS = {"semeion": (16, 16), "usps": (16, 16), "orl_faces_32": (32, 32)}
SERIES = (
    "sonar", "tecator", "fsdd", "ucr/CBF", "ucr/CricketX", "ucr/ECG200", "ucr/ECG5000_train500",
    "ucr/Earthquakes", "ucr/GunPoint", "ucr/ItalyPowerDemand", "ucr/PhalangesOutlinesCorrect",
    "ucr/Strawberry", "ucr/SwedishLeaf", "ucr/SyntheticControl",
)  # fmt: skip
SETS = (*GRIDS, *SERIES)

NATURAL, RANDOM = "natural", "random"
COVARIANCE, CLASS_MEAN = "ours, covariance", "ours, class-mean"
AFFINITIES = {COVARIANCE: "covariance", CLASS_MEAN: "class-mean"}
FOUND = (OURS, COVARIANCE, *(name for name in METHODS if name != OURS))  # orders that compete
ORDERS = (NATURAL, RANDOM, *FOUND[:2], CLASS_MEAN, *FOUND[2:])
COLUMNS = ("H", "entropy", "level 1", "labelled", "labelled 1")


@lru_cache(maxsize=1)
def problem_of(name: str, seed: int) -> tuple[Problem, NDArray | None]:
    """Permuted columns, and labels if there are two classes."""
    data = load_dataset(name)
    X, y = np.asarray(data.X, dtype=np.float64), data.y
    if name == "fsdd":
        X = X[:, ::4][:, :1024]
    rows = np.random.default_rng(seed).permutation(len(X))[: MORE_ROWS.get(name, ROWS)]
    two = y is not None and y.dtype.kind != "f" and len(np.unique(y)) == 2
    shape = GRIDS.get(name, (X.shape[1],))
    return Problem.permuted(X[rows], shape, seed), y[rows] if two else None


def entropies(problem: Problem, order: Order, y: NDArray | None) -> dict[str, float]:
    """Entropies of the levels in nats, their largest error bound, and the same with labels."""
    low, high = problem.X.min(axis=0), problem.X.max(axis=0)
    X = ((problem.X - low) / np.where(high > low, high - low, 1.0))[:ENTROPY_ROWS]
    found = _profile(X[:, order], None, problem.shape, ("entropy", "level 1", "bound"))
    if y is not None:
        weights = class_weights(y[:ENTROPY_ROWS], balanced=True)
        names = ("labelled", "labelled 1", "labelled bound")
        found |= _profile(X[:, order], weights, problem.shape, names)
    return found


def _profile(X: NDArray, weights: Any, shape: tuple[int, ...], names: Any) -> dict[str, float]:
    tensor = DataTensor(X, weights, Trigonometric(THETA))
    profile = entanglement_profile(tensor, shape, LEVELS, tolerance=TOLERANCE)
    levels = profile.by_level()
    bound = float(profile.error_bound.max())
    if not bound <= TOLERANCE:
        raise SystemExit(f"an error bound of {bound} nats, asked for {TOLERANCE}")
    return dict(zip(names, (float(np.mean(list(levels.values()))), levels[1], bound), strict=True))


def ordered(problem: Problem, name: str, y: NDArray | None) -> tuple[Order, float | None]:
    """Order, and the seconds it took without its affinity."""
    if name == NATURAL:
        return problem.natural, None
    if name == RANDOM:
        return problem.random_orders()[0], None
    if name in METHODS:
        affinity, method = problem.affinity, METHODS[name]
        return timed(lambda: method.order(affinity, problem.shape, len(problem.X), problem.seed))
    affinity = correlation_affinity(problem.X, AFFINITIES[name], y)
    return timed(lambda: mincut_order(affinity, problem.shape, None, problem.seed))


def cell(name: str, seed: int, method: str, frame: dict[str, float]) -> dict[str, Any] | None:
    problem, y = problem_of(name, seed)
    if method == CLASS_MEAN and y is None:
        return None
    order, seconds = ordered(problem, method, y)
    found = problem.judged(order, frame) | {"seconds": seconds}
    return found | entropies(problem, order, y)


def frame_cell(name: str, seed: int) -> dict[str, float]:
    problem, _ = problem_of(name, seed)
    return problem.frame() | {"rows": len(problem.X)}


def measured(cells: Cells, name: str, seeds: int) -> dict[str, dict[str, Any]]:
    """Medians over the seeds of everything, by order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        frame = cells.value((name, seed, "frame"), lambda s=seed: frame_cell(name, s))
        for method in ORDERS:
            key = (name, seed, method)
            one = cells.value(key, lambda s=seed, m=method, f=frame: cell(name, s, m, f))
            if one is not None:
                found.setdefault(method, []).append(one)
                natural = found[NATURAL][-1]
                apart = abs(one["entropy"] - natural["entropy"])
                if one["exact"] and apart > one["bound"] + natural["bound"]:
                    raise SystemExit(f"{name}, {method}: natural blocks, entropies {apart} apart")
    return {method: _medians(own) for method, own in found.items()}


def _medians(own: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        key: median(one[key] for one in own) for key in own[0] if own[0][key] is not None
    }
    return found | {"exact": f"{sum(one['exact'] for one in own)}/{len(own)}"}


def report(name: str, found: dict[str, dict[str, Any]], rows: int) -> None:
    problem, y = problem_of(name, 0)
    labels = "" if y is None else ", labelled and its level 1"
    bound = max(max(own["bound"], own.get("labelled bound", 0.0)) for own in found.values())
    print(f"\n{name}: {rows} x {len(problem.natural)}, laid out {problem.shape}")
    print(f"  H; entropy in millinats, its level 1{labels} (error bound {1e3 * bound:.0e})")
    for method, own in found.items():
        line = f"  {method:17} {own['H']:9.5f}"
        line += "".join(f" {1e3 * own[key]:9.3f}" for key in COLUMNS[1:] if key in own)
        line += f"  exact {own['exact']}  neighbours {own['neighbours']:4.0%}"
        print(line + (f"  {own['seconds']:7.3f} s" if "seconds" in own else ""))


def _best(found: dict[str, dict[str, Any]], key: str, names: tuple[str, ...]) -> str:
    return min((name for name in names if name in found), key=lambda name: found[name][key])


def _change(found: dict[str, dict[str, Any]], name: str, key: str) -> str:
    return f"{100 * (found[name][key] / found[NATURAL][key] - 1):+.2f}"


def summary(table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Differences from the natural order in percent, then who is lowest how often."""
    print("\nagainst the natural order, percent; below 0 is lower, so better\n")
    print(
        "| data | H: ours | best peer | entropy: ours | covariance | best peer | neighbours "
        "| seconds | of METIS |\n|---|---|---|---|---|---|---|---|---|"
    )
    peers = FOUND[2:]
    for name, found in table.items():
        by_cut, by_entropy = (_best(found, key, peers) for key in ("H", "entropy"))
        ours = found[OURS]
        cells = (
            name, _change(found, OURS, "H"), f"{_change(found, by_cut, 'H')} {by_cut}",
            _change(found, OURS, "entropy"), _change(found, COVARIANCE, "entropy"),
            f"{_change(found, by_entropy, 'entropy')} {by_entropy}", f"{ours['neighbours']:.0%}",
            f"{ours['seconds']:.3f}", f"{ours['seconds'] / found[METIS]['seconds']:.2f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    for key in COLUMNS:
        _print_ranks(key, {name: found for name, found in table.items() if key in found[NATURAL]})


def _print_ranks(key: str, table: dict[str, dict[str, dict[str, Any]]]) -> None:
    names = [NATURAL, *FOUND] + ([CLASS_MEAN] if key.startswith("labelled") else [])
    ranks: dict[str, list[int]] = {name: [] for name in names}
    for found in table.values():
        for name in names:
            ranks[name].append(1 + sum(_below(found[other], found[name], key) for other in names))
    print(f"\n{key}, {len(table)} sets: mean rank of {len(names)} (times lowest, or equal to it)")
    not_lowest = [name for name, rank in zip(table, ranks[NATURAL], strict=True) if rank > 1]
    print(f"  the natural order is not the lowest of {len(not_lowest)}: {', '.join(not_lowest)}")
    for name in sorted(names, key=lambda name: np.mean(ranks[name])):
        print(f"  {name:17} {np.mean(ranks[name]):4.1f}  ({ranks[name].count(1)})")


def _below(one: dict[str, Any], other: dict[str, Any], key: str) -> bool:
    """Whether the first is lower by more than errors explain."""
    bound = BOUNDS.get(key, "bound")
    allowed = one[bound] + other[bound] if bound else ROUNDING
    return one[key] < other[key] - allowed


def main() -> None:
    options = parsed(__doc__.splitlines()[0], SETS).parse_args()
    cells = Cells(options.out)
    print_machine(cells.made_with)
    torch.set_num_threads(1)
    table = {}
    with threadpool_limits(1):
        warm_up()
        for name in chosen(options.only, SETS, SETS):
            table[name] = measured(cells, name, options.seeds)
            report(name, table[name], cells.finished[f"{name} / 0 / frame"]["rows"])
        summary(table)


if __name__ == "__main__":
    main()
