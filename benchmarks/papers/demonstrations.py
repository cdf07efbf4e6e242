"""Images, messages, gradient descent and pairs of classes: the demonstrations of the paper.

Sizes and depths are those of the published scripts; ``computational_entanglement.py`` runs them.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from entangle import computational_entanglement as ce
from entangle import load_dataset
from entangle.errors import DatasetError

IMAGES = {  # rows, width, depth of the published scripts
    "airplane": (2700, 2500, 185),
    "fish": (2700, 2500, 183),
    "circle": (3500, 2500, 40),
    "pc": (3500, 2500, 100),
    "dog": (3400, 2500, 300),
    "cross": (2100, 1600, 500),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, k: int, source: torch.Generator, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(n, k, generator=source, dtype=dtype)


def disc(side: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    radius = torch.hypot(rows - side / 2, columns - side / 2)
    return (radius < side / 2.5) & (radius > side / 6)


def reconciliation(quick: bool) -> list[dict]:
    """Send a binary image, then a message of numbers, between two unrelated samples."""
    rows = []
    for name, (n, k, depth) in IMAGES.items():
        if quick and depth > 100:
            continue
        source = generator(depth)
        w, v = normal(2, k, source, torch.float32)
        encoder = ce.LikelihoodEncoder(n, k, depth, source)
        found = ce.reconcile(disc(math.isqrt(k)), w, v, encoder)
        wrong = np.minimum(found.error_rate, 1 - found.error_rate)
        first = int(np.argmax(wrong == 0)) if (wrong == 0).any() else None
        typical, late = (ce.reconciliation_depth(n, k, share=s) for s in (0.5, 0.95))
        rows.append(
            {
                "image": name,
                "n": n,
                "k": k,
                "published_layers": depth,
                "typical": typical,
                "for_95_percent": late,
                "read_at": first,
                "wrong_at_end": float(wrong[-1]),
                "inverted": found.inverted,
            }
        )
        print(
            f"  {name} ({n}, {k}): predicted {typical:.0f} layers, {late:.0f} for 95 % of pairs; "
            f"no wrong pixel from layer {first}; at the published {depth}: "
            f"{100 * wrong[-1]:.2f} % wrong{', inverted' if found.inverted else ''}"
        )
    source = generator(0)
    message = normal(50, 50, source)
    w, v = normal(2, 2500, source)
    encoder = ce.LikelihoodEncoder(3500, 2500, 100, source, draw="selected")
    found = ce.send_message(message, w, v, encoder)
    best = min((found.received, found.received_opposite), key=lambda x: float((x - message).norm()))
    measured = float((best - message).norm()) / 50
    predicted = min(found.predicted_error, found.predicted_error_opposite) / 50
    rows.append({"message_rmse": measured, "predicted": predicted, "angle": found.angle})
    print(
        f"  message at strength 100, (3500, 2500), 100 layers: error a pixel {measured:.2e}, "
        f"predicted from the angle {predicted:.2e}"
    )
    return rows


def descent(quick: bool) -> list[dict]:
    """Gradient descent on one sample, the two published settings."""
    rows = []
    start = torch.rand(2, 2, generator=generator(), dtype=torch.float64)
    tests = 100 * normal(5000, 2, generator(1))
    for x, y, rate in (((0.11, 0.1), (1.0, 1.0), 1000.0), ((0.1, 0.1), (1e4, 1e4), 0.01)):
        x, y = torch.tensor(x).double(), torch.tensor(y).double()
        loop, closed = (f(start, x, y, rate, 5) for f in (ce.descend, ce.descended))
        gap = float((loop - closed).abs().max() / loop.abs().max())
        images, residual = tests @ closed.T, start @ x - y
        cosine = images @ residual / (images.norm(dim=1) * residual.norm())
        s = torch.linalg.svdvals(closed)
        rows.append(
            {
                "rate": rate,
                "factor": ce.descent_factor(x, rate),
                "relative_gap": gap,
                "s2_over_s1": float(s[1] / s[0]),
                "aligned": float((cosine.abs() > 0.99).double().mean()),
            }
        )
        print(
            f"  rate {rate:g}: factor {rows[-1]['factor']:.4g} a step, closed form off {gap:.0e}, "
            f"s2/s1 {rows[-1]['s2_over_s1']:.0e}, {rows[-1]['aligned']:.1%} of tests on one line"
        )
    return rows


def features(name: str) -> tuple[torch.Tensor, np.ndarray]:
    data = load_dataset(name)
    X, y = np.asarray(data.X, dtype=np.float64).reshape(len(data.X), -1), np.asarray(data.y)
    if name == "fsdd":
        X = np.stack([bands(clip) for clip in X])
    X = torch.from_numpy(X)
    return X - X.mean(dim=0), y


def bands(clip: np.ndarray) -> np.ndarray:
    """Loudness of a clip in 20 bands of the spectrum and 8 spans of its time, mean taken off."""
    end = max(int(np.flatnonzero(clip)[-1]) + 1, 8 * 64)
    edges = np.geomspace(4, 128, 21).astype(int)
    found = []
    for span in np.array_split(clip[:end], 8):
        power = np.abs(np.fft.rfft(span * np.hanning(len(span)), 512)) ** 2
        found += [power[a : max(b, a + 1)].mean() for a, b in itertools.pairwise(edges)]
    loud = np.log(np.array(found) / np.max(found) + 1e-4)
    return loud - loud.mean()


def verification(quick: bool) -> list[dict]:
    """Pairs of one class and of two: n = 20, k = 10 and one layer (published), and wider."""
    rows = []
    for name in ("orl_faces_32", "fsdd", "digits"):
        try:
            X, y = features(name)
        except DatasetError as reason:
            print(f"  {name}: left out, {reason}")
            continue
        rng = np.random.default_rng(0)
        chosen = rng.permutation(len(X))[:400]
        selected = range(40 if quick else 100)
        for n, k, depth in ((20, 10, 1), (2048, 512, 1), (2048, 512, 12)):
            encoder = ce.LikelihoodEncoder(n, k, depth, generator(1), draw="selected")
            found = ce.verify_pairs(X[chosen], y[chosen], encoder, selected)
            areas, (same, other) = found.area_under_curve(), found.anticorrelated()
            rows.append(
                {
                    "set": name,
                    "n": n,
                    "k": k,
                    "layers": depth,
                    "area": areas.tolist(),
                    "antiparallel_same": same,
                    "antiparallel_other": other,
                }
            )
            print(
                f"  {name} ({n}, {k}), {depth} layers: area {areas[0]:.3f} -> {areas[-1]:.3f}; "
                f"antiparallel {same:.0%} within, {other:.0%} between"
            )
    return rows
