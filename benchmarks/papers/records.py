"""What the reproductions share: where results are kept, and orders disturbed by swaps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from cells import Cells, processor

__all__ = ["RESULTS", "Cells", "keep", "processor", "swapped"]

RESULTS = Path(__file__).parents[1] / "results"


def keep(name: str, content: dict[str, Any]) -> None:
    """Write a summary into the folder of results, as a whole or not at all."""
    RESULTS.mkdir(exist_ok=True)
    fresh = RESULTS / f"{name}.json.part"
    fresh.write_text(json.dumps({"processor": processor()} | content, indent=1))
    fresh.replace(RESULTS / f"{name}.json")


def swapped(n_features: int, counts: list[int], seed: int) -> dict[int, NDArray[np.int64]]:
    """Order after each number of random swaps of two features; more swaps go on from fewer."""
    random = np.random.default_rng(seed)
    pairs = random.integers(n_features, size=(max(counts, default=0), 2))
    order, found = np.arange(n_features), {}
    for done in range(len(pairs) + 1):
        if done in counts:
            found[done] = order.copy()
        if done < len(pairs):
            order[pairs[done]] = order[pairs[done][::-1]]
    return found
