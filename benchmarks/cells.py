"""Measurements one by one, kept in a file, so that a run that stopped goes on where it was.

A cell is one method on one data set with one seed. The file is replaced as a whole after every
cell. Cells measured with other sources, libraries or on another machine are not mixed: that is an
error. Of the scripts ``bench_*`` themselves nothing is noticed, so that a table can be printed
anew; take another file after changing the data in them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import entangle

SLOW = 1.0  # seconds of one run above which it is not repeated
RUNS = 3
LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba", "torch", "pymetis")


class Cells:
    """Finished cells by name, in a JSON file or only in memory."""

    def __init__(self, path: str | None) -> None:
        self.path = None if path is None else Path(path)
        self.made_with = made_with()
        self.finished: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            stored = json.loads(self.path.read_text())
            if stored["made_with"] != self.made_with:
                raise SystemExit(
                    f"{path} was made with {stored['made_with']}, this is {self.made_with}; "
                    "choose another file"
                )
            self.finished = stored["cells"]

    def value(self, key: Iterable[object], measure: Callable[[], Any]) -> Any:
        """Return the cell; measure and keep it if it is not there."""
        name = " / ".join(map(str, key))
        if name not in self.finished:
            self.finished[name] = measure()
            self._write()
        return self.finished[name]

    def _write(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(self.path.name + ".part")
        content = {"made_with": self.made_with, "cells": self.finished}
        fresh.write_text(json.dumps(content, indent=1))
        os.replace(fresh, self.path)


def made_with() -> dict[str, str]:
    """Machine, libraries, and a digest of the sources that a measurement depends on."""
    digest = hashlib.sha256()
    for folder in (Path(entangle.__file__).parent, Path(__file__).parent):
        for source in sorted(folder.rglob("*.py")):
            if not source.name.startswith("bench_"):
                digest.update(source.read_bytes())
    made = {"processor": processor(), "cores": str(os.cpu_count()), "threads": "1"}
    made |= {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    return made | {"sources": digest.hexdigest()[:12]}


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def timed(function: Callable[[], Any], runs: int = RUNS) -> tuple[Any, float]:
    """Return the result and the shortest time of ``runs``, of fewer where they take seconds.

    Processor time: with one thread it is that of the clock on an idle machine, and what others do
    on a shared one counts less.
    """
    times: list[float] = []
    result = None
    while len(times) < runs and sum(times) < SLOW:
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return result, min(times)


def median(values: Iterable[float]) -> float:
    return float(statistics.median(values))


def parsed(description: str, names: Iterable[str]) -> argparse.ArgumentParser:
    """Options that every benchmark of orders has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", help="JSON of finished cells, taken up again")
    return parser


def chosen(only: list[str] | None, names: Iterable[str], usual: Iterable[str]) -> list[str]:
    """Names asked for, in the order of ``names``; an error if one is unknown."""
    unknown = set(only or ()) - set(names)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    wanted = usual if only is None else only
    return [name for name in names if name in wanted]


def print_machine(made: dict[str, str]) -> None:
    print(", ".join(f"{name} {value}" for name, value in made.items()))
    print(
        "seconds: processor time of one thread, shortest of three runs (one if it takes over a "
        "second), median over seeds"
    )
