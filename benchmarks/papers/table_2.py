"""Table 2 of Alexander et al. 2023, arXiv:2303.11249: tables in random order and rearranged.

Accuracy on rows held out, 3 folds, of dna, semeion and isolet under a random order and under the
order of ``mincut``, which is found on the training rows in that random order, with columns that
exclude each other as the categories of a variable do kept together (on dna the three bits of a
nucleotide). Published means and standard deviations, over 10 seeds of which each is a random order,
stand beside ours.

    ENTANGLE_DATA=folder python benchmarks/papers/table_2.py [--quick] [--sets dna semeion]
        [--models padded-cnn s4] [--seeds 3] [--epochs 300] [--batch 16] [--rate 0.004] [--jobs 2]
        [--as-published] [--device cuda]

Every finished training is kept in benchmarks/results/table_2, so a run that stopped goes on where
it was; the summary is beside it in table_2.json, where a row replaces that of the same set, model
and protocol. As published, all training rows are trained on for a fixed number of epochs. What
differs:

- "padded-cnn" is the published CNN; "cnn" is ours, which does not pad between strides. Attention
  and S4 have the published width, depth and window. Rates and batches are the published ones unless
  --batch or --rate says otherwise, but rates rise for one epoch and fall along a cosine, and
  features are scaled one by one on training rows. --as-published keeps the rate (but for S4) and
  the values as they are.
- Folds are drawn anew for each seed, and the partitioning is ours, not METIS.

--quick takes dna and semeion, both CNNs, one seed and 20 epochs.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from records import RESULTS, keep, processor

from entangle import compare_orderings, load_dataset

ORDERS = "random", "mincut:one-hot"

PUBLISHED = {  # permuted, rearranged, IGTD: mean and standard deviation in percent
    ("dna", "cnn"): ((82.55, 1.66), (91.23, 1.14), (87.43, 1.09)),
    ("dna", "s4"): ((86.36, 1.74), (89.07, 3.68), (89.94, 1.09)),
    ("dna", "attention"): ((79.23, 3.95), (85.74, 4.50), (82.75, 3.24)),
    ("semeion", "cnn"): ((77.73, 1.38), (79.93, 1.76), (78.94, 1.90)),
    ("semeion", "s4"): ((82.47, 1.09), (89.72, 0.54), (86.00, 0.65)),
    ("semeion", "attention"): ((60.89, 4.89), (77.95, 1.74), (67.78, 2.60)),
    ("isolet", "cnn"): ((90.99, 0.62), (92.52, 0.38), (92.04, 0.62)),
    ("isolet", "s4"): ((92.35, 0.45), (93.37, 0.33), (92.71, 0.49)),
    ("isolet", "attention"): ((82.02, 1.62), (88.99, 0.59), (85.65, 1.95)),
}
QUICK = {"sets": ["dna", "semeion"], "models": ["padded-cnn", "cnn"], "seeds": 1, "epochs": 20}


def measured(
    name: str,
    model: str,
    seeds: int,
    epochs: int,
    jobs: int,
    batch: int | None,
    rate: float | None,
    as_published: bool,
    device: str | None,
) -> dict[str, Any]:
    data = load_dataset(name)
    X = data.X.reshape(len(data.X), -1)  # semeion, too, is a sequence in the paper
    given = {"early_stopping": False, "batch_size": batch, "learning_rate": rate,
             "scale": None if as_published else "feature"}  # fmt: skip
    if as_published and model != "s4":
        given["schedule"] = "constant"
    if device:
        given["device"] = device
    found = compare_orderings(
        X, data.y, ORDERS, (model,), seeds=seeds, epochs=epochs, n_jobs=jobs,
        model_options={model: given}, directory=RESULTS / "table_2",
        name=name, progress=True,
    )  # fmt: skip
    random, rearranged = (found.standing(model, order) for order in ORDERS)
    gain = rearranged.difference
    assert gain is not None
    published = PUBLISHED[name, "cnn" if model == "padded-cnn" else model]
    return {
        "set": name,
        "model": model,
        "seeds": seeds,
        "epochs": epochs,
        "batch": batch,
        "rate": rate,
        "as_published": as_published,
        "device": device,
        "published": published,
        "permuted": (100 * random.accuracy.mean, 100 * random.std),
        "rearranged": (100 * rearranged.accuracy.mean, 100 * rearranged.std),
        "gain": tuple(100 * value for value in (gain.mean, gain.low, gain.high)),
        "entropy_nats": (random.entropy_nats, rearranged.entropy_nats),
        "seconds": sum(row.train_seconds for row in found.rows),
    }


def line(row: dict[str, Any]) -> str:
    cells = [f"{mean:.1f} +- {std:.1f}" for mean, std in (*row["published"][:2], row["permuted"])]
    published = row["published"][1][0] - row["published"][0][0]
    gain, low, high = row["gain"]
    return (
        f"{row['set']:8s} {row['model']:10s} {cells[0]:>12s} {cells[1]:>12s} {published:+6.1f} | "
        f"{cells[2]:>12s} {row['rearranged'][0]:5.1f} +- {row['rearranged'][1]:.1f} "
        f"{gain:+6.1f} ({low:+.1f} to {high:+.1f})  {row['seconds']:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sets", nargs="*", default=["dna", "semeion", "isolet"])
    parser.add_argument("--models", nargs="*", default=["padded-cnn", "cnn", "s4", "attention"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--as-published", action="store_true")
    parser.add_argument("--device", help="such as cuda; by default the processor")
    options = vars(parser.parse_args())
    if options.pop("quick"):
        options |= QUICK
    sets, models = (options.pop(name) for name in ("sets", "models"))
    print(f"{processor()}; {options['seeds']} seeds x 3 folds, {options['epochs']} epochs")
    print(
        f"{'':19s} {'published':>12s} {'rearranged':>12s} {'gain':>6s} | {'ours':>12s}  rearranged"
    )
    for name in sets:
        for model in models:
            row = measured(name, model, **options)
            print(line(row), flush=True)
            rows = {_protocol(other): other for other in [*_kept(), row]}
            keep("table_2", {"rows": list(rows.values())})


def _kept() -> list[dict[str, Any]]:
    path = RESULTS / "table_2.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def _protocol(row: dict[str, Any]) -> tuple[str, str, bool]:
    return row["set"], row["model"], row.get("as_published", False)


if __name__ == "__main__":
    main()
