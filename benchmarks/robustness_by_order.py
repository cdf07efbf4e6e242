"""Clean and robust accuracy of local networks by the order of the features.

Semeion (16 x 16 pixels), dna (180 binary features) and fsdd (spoken digits 3 and 7, averaged to
256 values) in natural, random and rearranged order. Every cell is one model on one data set in all
orders; what is finished stays in the folder, so a run that stopped goes on where it was. A table of
all cells comes last.

    ENTANGLE_DATA=... python benchmarks/robustness_by_order.py --out runs/robustness [--quick]
        [--only dna-tree] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from entangle import compare_robustness, load_dataset
from entangle.datasets import Dataset

ORDERINGS = ("random", "natural", "mincut")
DIGITS = (3, 7)  # of the recordings, as published
LENGTH = 256  # values of a recording after averaging


@dataclass(frozen=True)
class Task:
    """One model on one data set."""

    data: str
    model: str
    epochs: int
    options: tuple[tuple[str, Any], ...] = ()
    rows: int = 900
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.2)
    attacked: int = 60


S4 = (("batch_size", 16), ("learning_rate", 4e-3), ("model_options", {"width": 32, "depth": 2}))
CNN = (("learning_rate", 5e-3), ("model_options", {"width": 16, "depth": 5}))
GENTLE_CNN = (("learning_rate", 2e-3), ("early_stopping", False), *CNN[1:])
SMALL = {"width": 32, "depth": 2, "heads": 2, "head_dim": 16, "window": 15}
ATTENTION = (("learning_rate", 3e-3), ("model_options", SMALL))
PATIENT_ATTENTION = (("batch_size", 8), ("early_stopping", False), *ATTENTION)
TREE = (("bond_dim", 6), ("batch_size", 16), ("early_stopping", False))

# Cheapest first.
TASKS = (
    Task("dna", "tree", 15, TREE),
    Task("semeion", "tree", 25, TREE),
    Task("dna", "cnn", 20, GENTLE_CNN),
    Task("semeion", "cnn", 15, CNN),
    Task("dna", "s4", 10, S4),
    Task("semeion", "s4", 12, S4, attacked=30),
    Task("dna", "attention", 20, PATIENT_ATTENTION, attacked=30),
    Task("semeion", "attention", 20, PATIENT_ATTENTION, attacked=30),
    Task("fsdd", "tree", 25, TREE, epsilons=(0.02, 0.05, 0.1)),
    Task("fsdd", "cnn", 15, CNN, epsilons=(0.02, 0.05, 0.1)),
    Task("fsdd", "s4", 10, S4, epsilons=(0.02, 0.05, 0.1), attacked=30),
    Task("fsdd", "attention", 10, ATTENTION, epsilons=(0.02, 0.05, 0.1), attacked=30),
)


def loaded(name: str) -> Dataset:
    """Return the data set; recordings as averages of neighbours, laid out in time."""
    data = load_dataset(name)
    if name != "fsdd":
        return data
    assert data.y is not None
    rows = np.isin(data.y, DIGITS)
    X = data.X[rows].astype(np.float64).reshape(rows.sum(), LENGTH, -1)
    energy = np.abs(X).mean(axis=2)  # the mean itself is silence: a recording swings about 0
    names = tuple(f"t{place}" for place in range(LENGTH))
    return replace(data, X=energy, y=data.y[rows], shape=(LENGTH,), feature_names=names)


def run(task: Task, folder: Path, quick: bool, device: str | None) -> dict[str, Any]:
    """Work one cell out, or read what is finished of it."""
    options = dict(task.options) | ({"device": device} if device else {})
    begin, used = time.perf_counter(), time.process_time()
    found = compare_robustness(
        loaded(task.data), None, task.epsilons, ORDERINGS, (task.model,), baseline="random", cv=3,
        seeds=1, epochs=2 if quick else task.epochs, model_options={task.model: options},
        max_samples=90 if quick else task.rows, max_attacked=10 if quick else task.attacked,
        directory=folder / "cells",
    )  # fmt: skip
    seconds = {"wall": time.perf_counter() - begin, "cpu": time.process_time() - used}
    return {"data": task.data, "text": found.to_text(), "seconds": seconds, **found.to_dict()}


def table(found: list[dict[str, Any]]) -> str:
    """Accuracy in percent, clean and at the middle radius, and differences from random order.

    Differences whose 95 % interval leaves 0 out are bold.
    """
    lines = [
        "| set, model, radius | random | natural | rearranged | natural - random "
        "| rearranged - random |",
        "|---|---|---|---|---|---|",
    ]
    for cell in found:
        radii = cell["epsilons_range"] if "epsilons_range" in cell else cell["epsilons_std"]
        middle = len(radii) // 2
        standings = {standing["ordering"]: standing for standing in cell["summary"]}
        model = cell["summary"][0]["model"]
        cells = [f"{cell['data']}, {model}, {radii[middle]:g}"]
        for name in ORDERINGS:
            standing = standings[name]
            pair = standing["accuracy"]["mean"], standing["robust"][middle]["mean"]
            cells.append(" / ".join(f"{100 * value:.1f}" for value in pair))
        for name in ORDERINGS[1:]:
            standing = standings[name]
            both = standing["difference"], standing["robust_differences"][middle]
            cells.append(" / ".join(map(_difference, both)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _difference(interval: dict[str, float]) -> str:
    mean, low, high = (100 * interval[name] for name in ("mean", "low", "high"))
    sure = "**" if low > 0 or high < 0 else ""
    return f"{sure}{mean:+.1f}{sure} ({low:+.0f} to {high:+.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of finished cells")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run")
    parser.add_argument("--only", nargs="*", metavar="DATA-MODEL", help="such as dna-tree")
    parser.add_argument("--device", help="such as cuda; by default the processor")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    cells = []
    for task in TASKS:
        name = f"{task.data}-{task.model}"
        if given.only and name not in given.only:
            continue
        found = run(task, given.out, given.quick, given.device)
        (given.out / f"{name}.json").write_text(json.dumps(found, indent=1))
        cells.append(found)
        print(f"== {name}: {found['seconds']}\n{found['text']}", flush=True)
    print(table(cells))


if __name__ == "__main__":
    main()
