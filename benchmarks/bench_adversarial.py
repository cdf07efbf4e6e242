"""Robust accuracy and seconds of the standard attack beside AutoAttack's.

Four networks on digits, 450 test samples, at each radius of Linf, L2 and L1: how many samples stay
correct, and processor seconds of one thread, which other work on the machine does not change much.
Ours takes all radii of a norm in one call, as a user would; AutoAttack, which knows one radius a
call, is called for each. Networks are trained here, from one seed.

    python benchmarks/bench_adversarial.py [--models mlp_std] [--norms linf l2] [--samples 450]
        [--radii 0.2]

Peer: pyautoattack 0.2 (`pip install pyautoattack`). Its standard version (APGD-CE, APGD-T, FAB-T
and the Square attack) is timed. The oracle is all that its standard and its plus version find: the
latter has five restarts, APGD-DLR and FAB besides. Ours leaves FAB out.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from entangle.adversarial import ThreatModel, pgd, robustness_curve

RADII = {"linf": (0.02, 0.05, 0.1, 0.2), "l2": (0.2, 0.5, 1.0), "l1": (1.0, 2.0, 4.0)}
PEER_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
MODELS = ("mlp_std", "mlp_adv", "cnn_std", "cnn_adv")


def network(kind):
    if kind == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
            nn.Linear(128, 10),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def trained(name, X, y, epochs=40):
    """Network by Adam, on samples of PGD in Linf, 0.1, where its name says so."""
    torch.manual_seed(0)
    module, threat = network(name[:3]), ThreatModel("linf", 0.1, 0.0, 1.0)
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    source = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(X), generator=source).split(64):
            samples = X[rows]
            if name.endswith("adv"):
                samples = pgd(module, samples, y[rows], threat, steps=10, generator=source)
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(samples), y[rows]).backward()
            optimizer.step()
    return module.eval()


def peer_correct(module, X, y, norm, eps, version):
    """Tell which samples AutoAttack leaves correct."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(module, norm=PEER_NORMS[norm], eps=eps, version=version, seed=0)
    attack.verbose = False
    found = attack.run_standard_evaluation(X, y, batch_size=500)
    adversarial = found[0] if isinstance(found, tuple) else found
    with torch.no_grad():
        return module(adversarial).argmax(1) == y


def compare(name, module, X, y, norm, radii):
    begin = time.process_time()
    found = robustness_curve(module, X, y, radii, norm, bounds=(0.0, 1.0))
    ours = time.process_time() - begin
    kept = [round(float(share) * len(y)) for share in found.accuracy]
    begin = time.process_time()
    standard = [peer_correct(module, X, y, norm, eps, "standard") for eps in radii]
    theirs = time.process_time() - begin
    plus = [peer_correct(module, X, y, norm, eps, "plus") for eps in radii]
    oracle = [int((a & b).sum()) for a, b in zip(standard, plus, strict=True)]
    peers = [int(correct.sum()) for correct in standard]
    counts = zip(radii, kept, peers, oracle, strict=True)
    counts = " ".join(f"{eps:g}: {k} / {p} / {o}" for eps, k, p, o in counts)
    worst = max((k - o for k, o in zip(kept, oracle, strict=True)), key=abs)
    signs = ", ".join(found.masking.flagged) or "none"
    cells = [name, norm, counts, f"{worst:+d}", f"{ours:.1f}", f"{theirs:.1f}"]
    print(f"| {' | '.join(cells)} | {ours / theirs:.2f} | {signs} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--norms", nargs="+", default=tuple(RADII), choices=tuple(RADII))
    parser.add_argument("--samples", type=int, default=450)
    parser.add_argument("--radii", nargs="+", type=float, help="of the norms; by default theirs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    images = torch.tensor(X.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    parts = train_test_split(images, torch.tensor(y), test_size=450, random_state=0, stratify=y)
    X_train, X_test, y_train, y_test = parts
    X_test, y_test = X_test[: options.samples], y_test[: options.samples]
    heads = "model | norm | correct, ours / standard / oracle | ours - oracle, worst | ours, s"
    print(f"| {heads} | standard, s | ratio | masking |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models:
        module = trained(name, X_train, y_train)
        for norm in options.norms:
            radii = sorted(set(options.radii or RADII[norm]))
            compare(name, module, X_test, y_test, norm, radii)


if __name__ == "__main__":
    main()
