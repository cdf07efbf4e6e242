"""Table 3 of Alexander et al. 2023, arXiv:2303.11249: CIFAR-10 with its pixels in random order.

Test accuracy of a convolutional network on images whose pixels are in random order, rearranged by
``mincut``, by IGTD and by the geodesic embedding of covariances (all found from training rows in
that random order, the three colours of a pixel together), and as they are.

    ENTANGLE_DATA=folder python benchmarks/papers/table_3.py [--quick] [--data exact|binary]
        [--orders permuted rearranged] [--seeds 3] [--epochs 40] [--train 4000]

Finished trainings are kept in benchmarks/results/table_3.cells.json, the summary in table_3.json.
What differs from the published protocol: 4,000 training images instead of 50,000 (--data exact:
10 classes, the first 5,000 images) or airplanes against automobiles (--data binary: JPEG pixels,
10,000 + 2,000); fewer epochs than 300; our network and partitioning. --quick takes one seed, 1,000
training images and 4 epochs.
"""

from __future__ import annotations

import argparse

import numpy as np
from images import BINARY, EXACT, accuracy, cifar, rearranged
from records import RESULTS, Cells, keep, processor

PUBLISHED = {"permuted": (35.11, 0.54), "rearranged": (38.23, 0.45), "igtd": (36.20, 0.70)}
METHODS = {
    "rearranged": ("mincut", "pearson"), "igtd": ("igtd", "pearson"),
    "geodesic": ("geodesic", "covariance"),
}  # fmt: skip
ORDERS = ("permuted", *METHODS, "natural")
QUICK = {"seeds": 1, "train": 1000, "epochs": 4, "orders": ["permuted", "rearranged"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", choices=["exact", "binary"], default="exact")
    parser.add_argument("--orders", nargs="*", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--train", type=int, default=4000)
    options = vars(parser.parse_args())
    if options.pop("quick"):
        options |= QUICK
    exact = options["data"] == "exact"
    images = cifar(EXACT if exact else BINARY).thinned(options["train"], 2000)
    cells = Cells(str(RESULTS / "table_3.cells.json"))
    print(f"{processor()}; {options}")
    found: dict[str, list[float]] = {order: [] for order in options["orders"]}
    for seed in range(options["seeds"]):
        start = np.random.default_rng(seed).permutation(images.pixels.shape[1])
        for name in options["orders"]:

            def measured(name: str = name, seed: int = seed, start: np.ndarray = start) -> float:
                orders = {"permuted": start, "natural": np.sort(start)}
                order = orders.get(name)
                if order is None:
                    order = rearranged(images, start, seed, *METHODS[name])
                return accuracy(images, order, options["epochs"], seed)

            key = options["data"], options["train"], options["epochs"], name, seed
            found[name].append(cells.value(key, measured))
            print(f"seed {seed} {name}: {100 * found[name][-1]:.1f} %", flush=True)
    keep("table_3", {"options": options, "accuracy": found})
    for name, values in found.items():
        published = "{:.1f} +- {:.1f}".format(*PUBLISHED[name]) if name in PUBLISHED else "-"
        gain = 100 * (np.mean(values) - np.mean(found[options["orders"][0]]))
        print(
            f"{name:10s} published {published:>12s}   ours {100 * np.mean(values):.1f} "
            f"+- {100 * np.std(values):.1f}, {gain:+.1f} from {options['orders'][0]}"
        )


if __name__ == "__main__":
    main()
