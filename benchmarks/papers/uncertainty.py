"""Spreads of inputs and gradients through a training, beside clean and robust accuracy.

arXiv:2205.01493 and 2402.10983 claim that both spreads are conjugate, as position and momentum, and
that this is why accurate networks are not robust. The relation itself is a theorem and holds for
every network; this script measures what else is claimed. For a set and a model: both spreads, their
product, clean, FGSM and PGD accuracy by epoch; then, on the trained model, the rank correlation of
the spread of gradients at a sample with the distance to its nearest adversarial sample (Linf), with
a bootstrap interval, beside that of the loss at the sample, which anybody has for nothing.

    ENTANGLE_DATA=folder python benchmarks/papers/uncertainty.py [--quick] [--sets mnist cifar10]
        [--models mlp cnn attention tree] [--rows 4000] [--epochs 10] [--packets 100] [--draws 1024]
        [--device cuda]

Finished cells stay in benchmarks/results/uncertainty, one file a set and model, and are not
computed again with the same options; a picture of the three panels lies beside each. Packets are
Gaussian about test samples, of width --tau. The published packets, networks, radii and samples are
not known, so nothing here is a reproduction. The tree tensor network is fitted anew for each look,
with a schedule as long as that; the others are looked at while they train.

--quick takes 1,000 rows, 3 epochs and 20 packets.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from records import RESULTS, keep, processor
from scipy.stats import rankdata

from entangle import LocalNetworkClassifier, TensorNetworkClassifier, load_dataset
from entangle.adversarial import ThreatModel, minimal_perturbation
from entangle.plotting import draw_uncertainty
from entangle.uncertainty import UncertaintyTracker, uncertainty_relation

SETS = {"mnist": ("mnist", 0.1), "cifar10": ("cifar10_exact_5k", 8 / 255)}  # name, radius of Linf
MODELS = {
    "mlp": {"hidden": (64,)},
    "cnn": {"width": 8, "depth": 3},
    "attention": {"width": 16, "depth": 2, "heads": 2, "head_dim": 8, "window": 14},
}
RATES = {"attention": 3e-3}  # at the published rate so few steps change nothing
QUICK = {"rows": 1000, "epochs": 3, "packets": 20}
RESAMPLES = 2000


def rows_of(
    name: str, n_training: int, n_test: int
) -> tuple[NDArray, NDArray, NDArray, NDArray, Any]:
    """Training and test samples, 0 to 1, with class numbers and the shape of a sample."""
    data = load_dataset(SETS[name][0])
    assert data.y is not None
    if n_training + n_test > len(data.X):
        raise SystemExit(f"{name} has {len(data.X)} samples; give fewer --rows or --samples")
    order = np.random.default_rng(0).permutation(len(data.X))[: n_training + n_test]
    X = data.X[order].astype(np.float32) / 255
    y = np.unique(data.y, return_inverse=True)[1][order]
    shape = data.shape
    if len(shape) == 3:  # colours are channels of a place
        X, shape = X.reshape(len(X), -1, shape[2]), shape[:2]
    return X[:n_training], y[:n_training], X[n_training:], y[n_training:], shape


def rank_correlation(one: NDArray, other: NDArray) -> dict[str, float]:
    """Spearman's, with a percentile interval over samples drawn anew."""
    random, found = np.random.default_rng(0), []
    for rows in [np.arange(len(one)), *random.integers(len(one), size=(RESAMPLES, len(one)))]:
        ranks = rankdata(one[rows]), rankdata(other[rows])
        found.append(float(np.corrcoef(*ranks)[0, 1]))
    low, high = np.percentile(found[1:], [2.5, 97.5])
    return {"value": found[0], "low": float(low), "high": float(high), "samples": len(one)}


def trained(
    model: str, X: NDArray, y: NDArray, shape: Any, tracker: Any, options: dict[str, Any]
) -> Any:
    """Fit and look; return the fitted classifier."""
    epochs, device = options["epochs"], options.get("device")
    if model != "tree":
        network = LocalNetworkClassifier(
            model, shape if model == "cnn" else None, model_options=MODELS[model],
            max_epochs=epochs, early_stopping=False, random_state=0, on_epoch=tracker,
            device=device, learning_rate=options.get("rate"),
        )  # fmt: skip
        return network.fit(X, y)
    for number in [*range(1, epochs, max(1, tracker.every)), epochs]:
        tree = TensorNetworkClassifier(
            "tree",
            bond_dim=10,
            shape=shape,
            max_epochs=number,
            early_stopping=False,
            random_state=0,
            device=device,
        ).fit(X, y)
        tracker(tree.as_module(), 1 + (number - 1) // tracker.every * tracker.every)
    return tree


def correlations(fitted: Any, X: NDArray, y: NDArray, options: dict[str, Any]) -> dict[str, Any]:
    """Rank correlations with the distance, over samples that are classified correctly."""
    module = fitted.as_module()
    right = np.flatnonzero(fitted.predict(X) == y)[: options["packets"]]
    X, y = X[right], y[right]
    distance, _ = minimal_perturbation(module, X, y, "linf", bounds=(0, 1))
    found = uncertainty_relation(module, X, y, tau=options["tau"], draws=options["draws"])
    loss = -np.log(fitted.predict_proba(X)[np.arange(len(y)), y].clip(1e-300))
    kept = found.valid & np.isfinite(distance)
    sigma_p = found.sigma_p_corr.mean(1)[kept]
    return {
        "distance_median": float(np.median(distance)),
        "refused": found.n_refused,
        "sigma_p": rank_correlation(sigma_p, distance[kept]),
        "product": rank_correlation(found.product_corr.mean(1)[kept], distance[kept]),
        "loss": rank_correlation(loss[kept], distance[kept]),
    }


def cell(name: str, model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Train, follow, correlate."""
    X, y, held, held_y, shape = rows_of(name, options["rows"], options["samples"])
    tracker = UncertaintyTracker(
        held, held_y, ThreatModel("linf", SETS[name][1], 0, 1), tau=options["tau"],
        draws=options["draws"], packets=options["packets"], every=options["every"],
    )  # fmt: skip
    started = time.process_time()
    fitted = trained(model, X, y, shape, tracker, options)
    curves = {key: values.tolist() for key, values in tracker.curves().items()}
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    draw_uncertainty(figure.subplots(1, 3), curves)
    figure.savefig(RESULTS / "uncertainty" / f"{name}_{model}.png", dpi=100)
    found = correlations(fitted, held, held_y, options)
    seconds = time.process_time() - started
    return {"curves": curves, "correlations": found, "seconds": seconds, "options": options}


def sentence(found: dict[str, Any]) -> str:
    """Say what holds and what does not."""
    curves, correlation = found["curves"], found["correlations"]
    moved = {k: curves[k][-1] - curves[k][0] for k in ("sigma_x", "sigma_p", "pgd", "clean")}
    spreads = [
        f"{noun} {'fell' if moved[k] < 0 else 'rose'} ({curves[k][0]:.6g} to {curves[k][-1]:.6g})"
        for k, noun in (("sigma_x", "the spread of inputs"), ("sigma_p", "that of gradients"))
    ]
    accuracy = f"clean accuracy moved by {moved['clean']:+.1%}, under PGD by {moved['pgd']:+.1%}"
    one = correlation["sigma_p"]
    if one["high"] < 0:
        verdict = "samples with wider gradients have nearer adversarial samples"
    elif one["low"] > 0:
        verdict = "samples with wider gradients have farther adversarial samples"
    else:
        verdict = "the spread of gradients does not tell the distance of adversarial samples"
    loss = correlation["loss"]
    return (
        f"{'; '.join(spreads)}; {accuracy}; {verdict} (rank correlation {one['value']:+.2f}, "
        f"{one['low']:+.2f} to {one['high']:+.2f}; the loss: {loss['value']:+.2f}, "
        f"{loss['low']:+.2f} to {loss['high']:+.2f}; {one['samples']} samples)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--models", nargs="*", default=[*MODELS, "tree"])
    for name, value in (
        ("rows", 4000), ("samples", 400), ("epochs", 10), ("packets", 100), ("draws", 1024),
        ("every", 1),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--tau", type=float, default=0.1)
    parser.add_argument("--device", help="such as cuda; by default the processor")
    options = vars(parser.parse_args())
    sets, models = options.pop("sets"), options.pop("models")
    options = {name: value for name, value in options.items() if value is not None}
    if options.pop("quick"):
        options |= QUICK
    (RESULTS / "uncertainty").mkdir(parents=True, exist_ok=True)
    print(f"{processor()}; {options}")
    for name in sets:
        for model in models:
            path = RESULTS / "uncertainty" / f"{name}_{model}.json"
            found = json.loads(path.read_text()) if path.exists() else {}
            protocol = options | ({"rate": RATES[model]} if model in RATES else {})
            if found.get("options") != protocol:
                found = cell(name, model, protocol)
                keep(f"uncertainty/{name}_{model}", found)
            print(f"{name}, {model}: {sentence(found)}. {found['seconds']:.0f} s")


if __name__ == "__main__":
    main()
