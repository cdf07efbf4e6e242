"""When does less entanglement buy accuracy? Its correlation with accuracy, over sets and orders.

For every data set and every split into training and test rows (3 folds, drawn anew for each seed)
features are ordered in several ways from the training rows, a convolutional network is trained in
each order, and the order is measured on the training rows: entanglement entropy with and without
labels, and the hierarchical cut H of every affinity. Sets differ in difficulty, so all is compared
within a split: values are centred over the orders of the split, measures divided by their mean
there first. The pooled correlation of the two over all sets has a 95 % interval from resampling
whole sets; every set has one from resampling its splits. A negative correlation is what a user
hopes for: lower entanglement, higher accuracy.

    ENTANGLE_DATA=folder python benchmarks/when_it_helps.py [--quick] [--sets digits semeion]
        [--model cnn] [--seeds 2] [--steps 600] [--rows 1000] [--jobs 2]

Finished trainings are kept in benchmarks/results/when_it_helps, the summary in when_it_helps.json
beside it. --quick takes two sets, one seed and 60 steps.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(Path(__file__).parent / "papers"))

from records import RESULTS, keep, processor

from entangle import (
    DataTensor,
    FeatureRearranger,
    compare_orderings,
    correlation_affinity,
    entanglement_profile,
    load_dataset,
)
from entangle.labels import stratified_rows
from entangle.partition import CanonicalTree
from entangle.surrogate import hierarchical_cut

SETS = (
    "digits", "breast_cancer", "semeion", "dna", "sonar", "ucr/CBF", "ucr/SyntheticControl",
    "ucr/SwedishLeaf", "ucr/ECG5000_train500", "usps",
)  # fmt: skip
GRIDS = {"digits": (8, 8), "semeion": (16, 16), "usps": (16, 16)}
METHODS = {
    "mincut": ("mincut", "pearson"), "covariance": ("mincut", "covariance"),
    "class-mean": ("mincut", "class-mean"), "igtd": ("igtd", "pearson"),
    "leaf-ordering": ("leaf-ordering", "pearson"),
}  # fmt: skip
AFFINITIES = (
    "pearson", "spearman", "mutual_info", "distance_correlation", "covariance", "class-mean",
)  # fmt: skip
ENTROPIES = ("entropy", "entropy, labels")
MEASURES = (*ENTROPIES, *(f"H {name}" for name in AFFINITIES))
ROWS, LEVELS, TOLERANCE, FOLDS, BATCH, RESAMPLES = 300, 4, 1e-3, 3, 64, 2000
QUICK: dict[str, Any] = {"sets": ["digits", "sonar"], "seeds": 1, "steps": 60}


def orders_of(X: NDArray, y: NDArray, shape: tuple[int, ...], seed: int) -> dict[str, NDArray]:
    """Orders by name, found from training rows whose features were shuffled first."""
    start = np.random.default_rng(seed).permutation(X.shape[1])
    found = {"natural": np.arange(X.shape[1]), "random": start}
    for name, (method, affinity) in METHODS.items():
        model = FeatureRearranger(method, shape, affinity, random_state=seed)
        found[name] = start[model.fit(X[:, start], y).permutation_]
    return found


def measures_of(
    X: NDArray, y: NDArray, shape: tuple[int, ...], orders: dict[str, NDArray], seed: int
) -> dict[str, dict[str, float]]:
    """Every measure of every order, on at most 300 training rows of features from 0 to 1."""
    rows = stratified_rows(y, len(X), ROWS, seed)
    low, high = X.min(axis=0), X.max(axis=0)
    values = (X[rows] - low) / np.where(high > low, high - low, 1.0)
    tensors = DataTensor(values), DataTensor.from_labels(values, y[rows], balanced=True)
    levels = min(LEVELS, CanonicalTree(shape).depth)
    affinities = {name: correlation_affinity(X[rows], name, y=y[rows]) for name in AFFINITIES}
    found = {}
    for order, columns in orders.items():
        profiles = [
            entanglement_profile(tensor.reordered(columns), shape, levels, TOLERANCE)
            for tensor in tensors
        ]
        cuts = [hierarchical_cut(a[np.ix_(columns, columns)], shape) for a in affinities.values()]
        found[order] = dict(zip(MEASURES, [*(p.mean for p in profiles), *cuts], strict=True))
    return found


def rows_of(name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for every split and order of a data set: its measures and the accuracy."""
    data = load_dataset(name)
    assert data.y is not None
    kept = stratified_rows(data.y, data.n_samples, options["rows"], seed=0)
    X, y, shape = data.X[kept].astype(np.float64), data.y[kept], GRIDS.get(name, (data.X.shape[1],))
    scale, found = "all" if len(shape) == 2 else "feature", []
    for seed in range(options["seeds"]):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(X, y)
        for fold, (train, test) in enumerate(folds):
            epochs = -(-options["steps"] // -(-len(train) // BATCH))
            orders = orders_of(X[train], y[train], shape, seed)
            measured = measures_of(X[train], y[train], shape, orders, seed)
            compared = compare_orderings(
                X, y, orders, (options["model"],), shape=shape, cv=[(train, test)], seeds=(seed,),
                epochs=epochs, entropy=False, name=name,
                directory=RESULTS / "when_it_helps", n_jobs=options["jobs"], progress=True,
                model_options={options["model"]: {"scale": scale, "early_stopping": False}},
            )  # fmt: skip
            found += [
                {"set": name, "split": [seed, fold], "order": row.ordering,
                 "accuracy": row.accuracy, **measured[row.ordering]}
                for row in compared.rows
            ]  # fmt: skip
    return found


def centred(rows: list[dict[str, Any]], measure: str) -> dict[str, list[NDArray[np.float64]]]:
    """Pairs (relative measure, accuracy), centred over the orders of a split, by data set."""
    splits: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    for row in rows:
        splits.setdefault((row["set"], *row["split"]), []).append((row[measure], row["accuracy"]))
    found: dict[str, list[NDArray[np.float64]]] = {}
    for (name, *_), pairs in splits.items():
        values = np.array(pairs)
        values[:, 0] /= values[:, 0].mean()
        found.setdefault(name, []).append(values - values.mean(axis=0))
    return found


def correlation(parts: list[NDArray[np.float64]]) -> float:
    """Pearson's correlation of centred pairs; each column of a part counts with unit scale."""
    values = np.concatenate(parts)
    return float(values[:, 0] @ values[:, 1] / np.sqrt((values**2).sum(axis=0).prod()))


def unit(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """All pairs of a set at unit variance, so that no set outweighs another."""
    values = np.concatenate(parts)
    return values / np.sqrt((values**2).mean(axis=0))


def interval(parts: list[NDArray[np.float64]]) -> tuple[float, float, float]:
    """Correlation with the 2.5 and 97.5 % points over resamples of the parts."""
    random = np.random.default_rng(0)
    drawn = random.integers(len(parts), size=(RESAMPLES, len(parts)))
    found = [correlation([parts[place] for place in places]) for places in drawn]
    return correlation(parts), *(float(end) for end in np.percentile(found, (2.5, 97.5)))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Correlation of each measure with accuracy: of all sets, and of each."""
    found: dict[str, Any] = {}
    for measure in MEASURES:
        sets = centred(rows, measure)
        found[measure] = {
            "all": interval([unit(parts) for parts in sets.values()]),
            **{name: interval(parts) for name, parts in sets.items()},
        }
    return found


def report(rows: list[dict[str, Any]]) -> None:
    found = summary(rows)
    names = ["all", *dict.fromkeys(row["set"] for row in rows)]
    print(f"{'correlation with accuracy':22s} " + " ".join(f"{m:>22s}" for m in MEASURES))
    for name in names:
        cells = [found[m][name] for m in MEASURES]
        print(f"{name:25s} " + " ".join(f"{c:+6.2f} ({a:+.2f}, {b:+.2f})" for c, a, b in cells))
    for name in names[1:]:
        means = {
            order: np.mean([r["accuracy"] for r in rows if (r["set"], r["order"]) == (name, order)])
            for order in ("random", "natural", *METHODS)
        }
        print(f"{name:25s} " + ", ".join(f"{o} {100 * mean:.1f}" for o, mean in means.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=600, help="of 64 rows, of each training")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    options = vars(parser.parse_args())
    if options.pop("quick"):
        options |= QUICK
    print(f"{processor()}; {options}")
    rows: list[dict[str, Any]] = []
    for name in options["sets"]:
        rows += rows_of(name, options)
        keep("when_it_helps", {"options": options, "rows": rows, "summary": summary(rows)})
        print(f"{name} done", flush=True)
    report(rows)


if __name__ == "__main__":
    main()
