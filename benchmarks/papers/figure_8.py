"""Figure 8 of Alexander et al. 2023, arXiv:2303.11249: swaps of pixels in images of two classes.

Airplanes against automobiles of CIFAR-10: the more pairs of pixels change places, the higher the
entanglement across canonical cuts of the grid, and the lower the accuracy of a convolutional
network. The entropy is the mean over the canonical cuts of levels 1 to 4 at theta 0.085, of 500
grey training images; the network sees colours.

    ENTANGLE_DATA=folder python benchmarks/papers/figure_8.py [--quick] [--seeds 2] [--epochs 15]
        [--train 3000]

Finished trainings are kept in benchmarks/results/figure_8.cells.json, the summary in figure_8.json.
What differs from the published protocol: JPEG pixels, fewer images and epochs, our network; the
published entropies (0.93 to 1.22 nats) are those of the blocks that its code sliced. Each seed is a
sequence of swaps, and a sequence goes on. --quick takes one seed, three numbers of swaps, 800
training images and 4 epochs.
"""

from __future__ import annotations

import argparse

import numpy as np
from images import BINARY, SHAPE, Images, accuracy, cifar
from numpy.typing import NDArray
from records import RESULTS, Cells, keep, processor, swapped
from scipy.stats import spearmanr

from entangle import DataTensor, entanglement_profile
from entangle.embedding import Trigonometric

ROWS, LEVELS, THETA, TOLERANCE = 500, 4, 0.085, 1e-4
SWAPS = [0, 32, 64, 128, 256, 512, 1024]
QUICK = {"seeds": 1, "train": 800, "epochs": 4, "swaps": [0, 128, 1024]}
PUBLISHED = {"entropy, nats": (0.93, 1.22), "accuracy": (0.798, 0.708)}


def entropy(images: Images, order: NDArray) -> float:
    """Mean entropy of the order in nats."""
    rows = np.flatnonzero(~images.is_test)[:ROWS]
    values = images.grey[rows][:, order]
    tensor = DataTensor.from_labels(values, images.classes[rows], Trigonometric(THETA))
    profile = entanglement_profile(tensor, SHAPE, LEVELS, TOLERANCE)
    assert profile.tolerance_met, "an entropy without its error bound"
    return profile.mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--train", type=int, default=3000)
    options = vars(parser.parse_args()) | {"swaps": SWAPS}
    if options.pop("quick"):
        options |= QUICK
    images = cifar(BINARY).thinned(options["train"], 2000)
    cells = Cells(str(RESULTS / "figure_8.cells.json"))
    print(f"{processor()}; {options}")
    found: dict[str, list[list[float]]] = {name: [] for name in PUBLISHED}
    for seed in range(options["seeds"]):
        orders = swapped(images.pixels.shape[1], options["swaps"], seed)
        key = options["train"], options["epochs"], seed
        found["entropy, nats"].append([
            cells.value(("entropy", *key, count), lambda order=order: entropy(images, order))
            for count, order in orders.items()
        ])  # fmt: skip
        found["accuracy"].append([
            cells.value((*key, count), lambda order=order, seed=seed: accuracy(
                images, order, options["epochs"], seed))
            for count, order in orders.items()
        ])  # fmt: skip
        print(f"seed {seed} done", flush=True)
    keep("figure_8", options | found)
    for name, values in found.items():
        means = np.mean(values, axis=0)
        cells_of = ", ".join(f"{c}: {m:.4g}" for c, m in zip(options["swaps"], means, strict=True))
        trend = spearmanr(range(len(means)), means).statistic
        print(f"{name}: {cells_of}; Spearman {trend:+.2f}; published {PUBLISHED[name]}")


if __name__ == "__main__":
    main()
