"""Feature orders of real data, in which the natural order need not be the best one.

Columns are permuted at random and ordered by ours (correlations, squared covariances, and class
means where there are two classes) and by the peers, from half of the rows; the other half is held
out. On both halves, of each order: H (as in ``bench_ordering.py``) and the true entanglement
entropy of the data (mean over the levels 1 to 4 of the mean over their cuts, and level 1; theta
0.085 on features scaled to [0, 1], at most 300 rows, all weights one), with balanced labels -1 and
+1 where there are two classes; and the share of natural neighbours that touch. Then which order is
lowest how often, and where the natural one is not. A low number on the rows that an order was found
from and not on those held out is noise that was fitted.

    ENTANGLE_DATA=folder python benchmarks/bench_ordering_real.py [--only NAME ...] [--seeds 3]
        [--out FILE]

Orders are found from 1,000 random rows at most (2,000 of usps), and as many are held out. fsdd is
every fourth sample up to 1,024 of them: half a second at 2 kHz. An entropy without its error bound,
and an order with the natural blocks but not the natural entropy, are errors.
"""

from __future__ import annotations

from dataclasses import dataclass
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
HELD = "held out "
QUANTITIES = ("H", "entropy", "level 1", "labelled", "labelled 1")
COLUMNS = tuple(part + name for name in QUANTITIES for part in ("", HELD))


@dataclass(frozen=True)
class Halves:
    """Rows that orders are found from, rows held out, and their labels if of two classes."""

    problem: Problem
    held_out: Problem
    y: NDArray | None
    held_out_y: NDArray | None


@lru_cache(maxsize=1)
def halves_of(name: str, seed: int) -> Halves:
    data = load_dataset(name)
    X, y = np.asarray(data.X, dtype=np.float64), data.y
    if name == "fsdd":
        X = X[:, ::4][:, :1024]
    low, high = X.min(axis=0), X.max(axis=0)
    X = (X - low) / np.where(high > low, high - low, 1.0)
    rows = np.random.default_rng(seed).permutation(len(X))[: 2 * MORE_ROWS.get(name, ROWS)]
    parts = np.array_split(rows, 2)
    two = y is not None and y.dtype.kind != "f" and len(np.unique(y)) == 2
    shape = GRIDS.get(name, (X.shape[1],))
    labels = [y[part] if two else None for part in parts]
    return Halves(*(Problem.permuted(X[part], shape, seed) for part in parts), *labels)


def entropies(problem: Problem, order: Order, y: NDArray | None, of: str) -> dict[str, float]:
    """Entropies of the levels in nats, their largest error bound, and the same with labels."""
    X = problem.X[:ENTROPY_ROWS, order]
    found = _profile(X, None, problem.shape, ("entropy", "level 1", "bound"))
    if y is not None:
        weights = class_weights(y[:ENTROPY_ROWS], balanced=True)
        names = ("labelled", "labelled 1", "labelled bound")
        found |= _profile(X, weights, problem.shape, names)
    return {of + name: value for name, value in found.items()}


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
    halves = halves_of(name, seed)
    if method == CLASS_MEAN and halves.y is None:
        return None
    order, seconds = ordered(halves.problem, method, halves.y)
    found = halves.problem.judged(order, frame) | {"seconds": seconds}
    found[f"{HELD}H"] = halves.held_out.cut(order)
    found |= entropies(halves.problem, order, halves.y, "")
    return found | entropies(halves.held_out, order, halves.held_out_y, HELD)


def frame_cell(name: str, seed: int) -> dict[str, float]:
    problem = halves_of(name, seed).problem
    return problem.frame() | {"rows": len(problem.X)}


Own = list[dict[str, Any]]  # cells of one order, seed by seed


def measured(cells: Cells, name: str, seeds: int) -> dict[str, Own]:
    found: dict[str, Own] = {}
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
    return found


def report(name: str, found: dict[str, Own], rows: int) -> None:
    shape = halves_of(name, 0).problem.shape
    bound = max(one[key] for own in found.values() for one in own for key in one if "bound" in key)
    print(f"\n{name}: {rows} rows, as many held out, laid out {shape}")
    print(f"  entropies in millinats, error bound {1e3 * bound:.0e}; each then of rows held out")
    columns = [key for key in COLUMNS if key in found[NATURAL][0]]
    print(" " * 19 + "".join(f"{key:>20}" for key in columns if not key.startswith(HELD)))
    for method, own in found.items():
        line = f"  {method:17}"
        for key in columns:
            value = median(one[key] for one in own)
            line += f" {value:9.5f}" if key.endswith("H") else f" {1e3 * value:9.3f}"
        line += f"  exact {sum(one['exact'] for one in own)}/{len(own)}"
        line += f"  neighbours {median(one['neighbours'] for one in own):4.0%}"
        if own[0]["seconds"] is not None:
            line += f"  {median(one['seconds'] for one in own):7.3f} s"
        print(line)


def _change(found: dict[str, Own], name: str, key: str) -> float:
    """Median over the seeds of the difference from the natural order, in percent."""
    pairs = zip(found[name], found[NATURAL], strict=True)
    return median(100 * (one[key] / natural[key] - 1) for one, natural in pairs)


def _best_peer(found: dict[str, Own], key: str) -> str:
    change, name = min((_change(found, name, key), name) for name in FOUND[2:])
    return f"{change:+.2f} {name}"


def summary(table: dict[str, dict[str, Own]]) -> None:
    """Differences from the natural order in percent, then who is lowest how often."""
    print("\nagainst the natural order, percent, below 0 is better; ours, covariance, best peer\n")
    keys = ("H", f"{HELD}H", "entropy", f"{HELD}entropy")
    print(f"| data | {' | '.join(keys)} | neighbours | seconds | of METIS |\n|{'---|' * 8}")
    for name, found in table.items():
        cells = [name]
        for key in keys:
            ours = "; ".join(f"{_change(found, who, key):+.2f}" for who in (OURS, COVARIANCE))
            cells.append(f"{ours}; {_best_peer(found, key)}")
        near, seconds = (median(one[k] for one in found[OURS]) for k in ("neighbours", "seconds"))
        ratio = seconds / median(one["seconds"] for one in found[METIS])
        print("| " + " | ".join([*cells, f"{near:.0%}", f"{seconds:.3f}", f"{ratio:.2f}"]) + " |")
    for key in COLUMNS:
        own = {name: found for name, found in table.items() if key in found[NATURAL][0]}
        if own:
            _print_ranks(key, own)


def _print_ranks(key: str, table: dict[str, dict[str, Own]]) -> None:
    names = [NATURAL, *FOUND] + ([CLASS_MEAN] if "labelled" in key else [])
    ranks: dict[str, list[int]] = {name: [] for name in names}
    for found in table.values():
        for name in names:
            ranks[name].append(1 + sum(_below(found[other], found[name], key) for other in names))
    print(f"\n{key}, {len(table)} sets: mean rank of {len(names)} (times lowest, or equal to it)")
    lowest = [name for name, rank in zip(table, ranks[NATURAL], strict=True) if rank == 1]
    print(f"  the natural order is the lowest of {len(lowest)}: {', '.join(lowest) or '-'}")
    for name in sorted(names, key=lambda name: np.mean(ranks[name])):
        print(f"  {name:17} {np.mean(ranks[name]):4.1f}  ({ranks[name].count(1)})")


def _below(one: Own, other: Own, key: str) -> bool:
    """Whether the first is lower, in the median over seeds, by more than errors explain."""
    allowed = ROUNDING
    if not key.endswith("H"):
        bound = (HELD if key.startswith(HELD) else "") + ("labelled " * ("labelled" in key))
        allowed += max(cell[f"{bound}bound"] for cell in (*one, *other)) * 2
    return median(a[key] - b[key] for a, b in zip(one, other, strict=True)) < -allowed


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
