"""Do samples that collapse flip first? Networks trained on digits, and their smallest flips.

The smallest perturbation of a sample is that of ``minimal_perturbation`` in L2, an upper bound.
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from entangle import computational_entanglement as ce
from entangle.adversarial import minimal_perturbation


def trained(depth: int, seed: int, X: Tensor, y: Tensor) -> nn.Module:
    """Fully connected layers of 64 relus, as many as asked for, then one of 10 logits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(64, 64), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(64, 10)).double()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(800):
            rows = torch.randint(len(X), (128,))
            loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def flips(quick: bool) -> list[dict]:
    """Collapse of pairs and of Jacobians of trained networks, and whether it goes with flips."""
    X, y = load_digits(return_X_y=True)
    X, y = torch.from_numpy(X / 16), torch.from_numpy(y)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(X)))
    train, test = order[:1200], order[1200 : 1300 if quick else 1500]
    rows = []
    for depth, seed in itertools.product((2, 6), (0,) if quick else (0, 1, 2)):
        model = trained(depth, seed, X[train], y[train])
        with torch.no_grad():
            predicted = model(X[test]).argmax(dim=1)
        right = test[predicted == y[test]]
        single = copy.deepcopy(model).float()
        epsilon, _ = minimal_perturbation(single, X[right].float(), y[right], "l2")
        nearest = right[ce.rivals(X[right], y[right].numpy())]
        paths = ce.network_paths(model, X[right], X[nearest]).paths
        jacobians = ce.jacobian_collapse(model, X[right[:100]])
        distance = (X[right] - X[nearest]).norm(dim=1).numpy()
        found = {
            "pair": ce.flip_correlation(paths.log_contraction.numpy(), epsilon),
            "jacobian": ce.flip_correlation(jacobians.log_ratio[-1].numpy(), epsilon[:100]),
            "input distance": ce.flip_correlation(distance, epsilon),
        }
        rate = jacobians.rate()
        row = {
            "depth": depth,
            "seed": seed,
            "accuracy": len(right) / len(test),
            "rate": rate.rate,
            "rate_error": rate.standard_error,
            "median_epsilon": float(np.median(epsilon)),
            "median_angles": paths.angle.median(dim=1).values.tolist(),
        }
        rows.append(row | {name: vars(one) for name, one in found.items()})
        print(
            f"  {depth} hidden, seed {seed}: accuracy {row['accuracy']:.1%}, collapse exponent "
            f"{rate.rate:.3f} +- {rate.standard_error:.3f} a layer, median smallest flip "
            f"{row['median_epsilon']:.2f}, median angle of rivals by layer "
            f"{', '.join(f'{a:.2f}' for a in row['median_angles'])}"
        )
        for name, one in found.items():
            print(f"    {name}: {one.coefficient:+.2f} ({one.low:+.2f} to {one.high:+.2f})")
    return rows
