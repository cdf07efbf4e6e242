"""Experiments of arXiv:2309.15669, computational entanglement: predicted and measured.

The paper's published code has sizes but no numbers, so what stands beside a measurement is the
theory of ``entangle.computational_entanglement``: rates, branches and depths, before anything runs.

    python benchmarks/papers/computational_entanglement.py [--quick] [--only exponents speed ...]

Everything printed is kept in benchmarks/results/computational_entanglement.json, and two pictures
beside it. Sets of faces and of speech need ENTANGLE_DATA. Published images are replaced by a disc
of the same size. --quick takes fewer layers, encoders and images.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import matplotlib.pyplot as plt
import numpy as np
import torch
from cells import processor
from collapsed_digits import flips
from demonstrations import descent, generator, normal, reconciliation, verification

from entangle import computational_entanglement as ce

RESULTS = Path(__file__).parents[1] / "results"
RATES = ((20, 10), (300, 4), (10, 2), (200, 50), (10, 10), (16384, 256), (5000, 512))
BRANCHES = ((200, 50, 0.05), (200, 50, 0.151), (20, 10, 0.203))
CROSSINGS = ((40, 10), (200, 64), (750, 64), (6000, 512), (8000, 512), (10_000, 512))


def speed(quick: bool) -> list[dict]:
    """5,000 samples through (16384, 256), 10 layers, beside what they cannot do without."""
    source = generator()
    n = 50_000 if quick else 500_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    ce.encode(normal(1, 784, source, torch.float32)[0], n, 784, source)
    row = {
        "wide_cpu_s": time.process_time() - begin,
        "wide_peak_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    print(
        f"  one layer of {n:,} x 784: {row['wide_cpu_s']:.1f} s CPU, "
        f"peak {row['wide_peak_mib']:.0f} MiB above what was held"
    )
    w, v = normal(1, 256, source, torch.float32)[0], normal(5000, 256, source, torch.float32)
    rows = []
    for draw in ("rows", "selected"):
        begin, clock = time.process_time(), time.perf_counter()
        angles = ce.LikelihoodEncoder(16384, 256, 10, source, draw=draw).angles(w, v)
        seconds, wall = time.process_time() - begin, time.perf_counter() - clock
        begin = time.process_time()
        for _ in range(10):
            drawn = normal(16384, 256, source, torch.float32) if draw == "rows" else None
            layer = normal(256, 256, source, torch.float32)
            _ = v @ layer.T, drawn is not None and drawn @ w
        limit = time.process_time() - begin
        near = torch.minimum(angles[-1], 1 - angles[-1]) < 0.01
        rows.append(
            {
                "draw": draw,
                "cpu_s": seconds,
                "wall_s": wall,
                "limit_cpu_s": limit,
                "threads": torch.get_num_threads(),
                "entangled": float(near.double().mean()),
            }
        )
        print(
            f"  {draw:9s} {seconds:5.2f} s CPU ({wall:.2f} s clock), drawing and products "
            f"alone {limit:.2f} s; {rows[-1]['entangled']:.1%} within 0.01 of an end"
        )
    return [*rows, row]


def exponents(quick: bool) -> list[dict]:
    """Rates of collapse over many layers."""
    rows = []
    for n, k in RATES:
        depth = (2000 if k < 50 else 200 if k == 50 else 12) * (1 if quick else 3)
        source = generator(n)
        w, *v = normal(6, k, source)
        encoder = ce.LikelihoodEncoder(n, k, depth, source, draw="selected" if k > 50 else "rows")
        slope = encoder.paths(w, torch.stack(v)).rate()
        exact, large = ce.exponent(n, k), ce.large_k_exponent(n, k)
        errors = (slope.rate - exact) / slope.standard_error
        rows.append(
            {
                "n": n,
                "k": k,
                "exact": exact,
                "large_k": large,
                "measured": slope.rate,
                "standard_error": slope.standard_error,
                "layers": slope.n_layers,
            }
        )
        print(
            f"  ({n}, {k}): exact {exact:.4f}, large k {large:.4f}, measured {slope.rate:.4f} "
            f"+- {slope.standard_error:.4f} ({errors:+.1f}), {slope.n_layers} layers"
        )
    return rows


def share(found: list[float]) -> tuple[float, float]:
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(len(found)))


def branches(quick: bool) -> list[dict]:
    """Count the ends of pairs that begin at one angle, or at random."""
    rows = []
    for n, k, cotangent in (*BRANCHES, (200, 50, 0.0)):
        source, found = generator(k), []
        for _ in range((20 if quick else 100) * (10 if k <= 50 else 1)):
            v = normal(500, k, source)
            v[:, 0] = cotangent * v[:, 1:].norm(dim=1)
            encoder = ce.LikelihoodEncoder(n, k, 20, source)
            paths = encoder.paths(torch.eye(k, dtype=torch.float64)[0], v)
            found.append(float(paths.anticorrelated.double().mean()))
        angle = 0.5 - math.atan(cotangent) / math.pi
        large = float(ce.branch_probability(angle, n, k))
        exact = float(ce.branch_probability(angle, n, k, ce.noise_variances(n, k, 4000)))
        rows.append(compared("antiparallel", f"cot {cotangent}", n, k, large, exact, *share(found)))
    for n, k in CROSSINGS:
        source, found = generator(k), []
        for _ in range((20 if quick else 100) * (10 if k <= 50 else 1)):
            encoder = ce.LikelihoodEncoder(n, k, 12, source, draw="selected")
            w, *v = normal(501, k, source)
            found.append(float(encoder.paths(w, torch.stack(v)).crossed.double().mean()))
        large = ce.crossing_probability(n, k)
        exact = ce.crossing_probability(n, k, ce.noise_variances(n, k, 1000))
        rows.append(compared("crossed", "random", n, k, large, exact, *share(found)))
    return rows


def compared(what, start, n, k, large, exact, measured, error) -> dict:
    print(
        f"  {what}, {start}, ({n}, {k}): large k {large:.3f}, exact {exact:.3f}, measured "
        f"{measured:.3f} +- {error:.3f}"
    )
    return {
        "what": what,
        "start": start,
        "n": n,
        "k": k,
        "large_k": large,
        "exact": exact,
        "measured": measured,
        "standard_error": error,
    }


def curves(quick: bool) -> list[dict]:
    """Time dilation (cosines) and length contraction (squared distances), and time itself."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    rows = []
    for ax, n, steps, name in ((axes[0], 10, 20, "cosine"), (axes[1], 100, 50, "squared_distance")):
        source = generator(n)
        w, *v = normal(51, 2, source)
        paths = ce.LikelihoodEncoder(n, 2, steps, source).paths(w, torch.stack(v))
        values = getattr(paths, name)
        ax.plot(values.numpy(), color="#1f77b4", alpha=0.4, linewidth=0.8)
        ax.set(xlabel="layer", ylabel=name.replace("_", " "), title=f"n = {n}, k = 2")
        ends = torch.minimum(paths.angle[-1], 1 - paths.angle[-1])
        rows.append(
            {
                "curve": name,
                "n": n,
                "layers": steps,
                "farthest_end": float(ends.max()),
                "antiparallel": float(paths.anticorrelated.double().mean()),
            }
        )
        print(
            f"  {name}, n = {n}: farthest pair {rows[-1]['farthest_end']:.1e} from 0 or 1, "
            f"{100 * rows[-1]['antiparallel']:.0f} % antiparallel"
        )
    source = generator(1000)
    w, *v = normal(5001, 2, source)
    paths = ce.LikelihoodEncoder(10, 2, 30, source).paths(w, torch.stack(v))
    for speed_, colour in ((0.0, "#8c8c8c"), (1000.0, "#c44e52")):
        far = (paths.spacetime_angle(speed_) > 0.5).double().mean(dim=1)
        axes[2].plot(far, "o-", color=colour, markersize=3, label=f"c = {speed_:g}")
        rows.append({"speed": speed_, "beyond_a_right_angle": far.tolist()})
    print(
        f"  beyond a right angle, c = 1000: {far[1]:.2f} after 1 layer, {far[12]:.2f} after 12, "
        f"{far[30]:.2f} after 30"
    )
    axes[2].set(xlabel="layer", ylabel="share beyond a right angle", title="with time, n = 10")
    axes[2].legend(frameon=False)
    finish(figure, axes, "computational_entanglement_curves.png")
    return rows


def histograms(quick: bool) -> list[dict]:
    """Angles of 5,000 samples with one, through (16384, 256)."""
    source = generator(2)
    w, v = normal(1, 256, source)[0], normal(5000, 256, source)
    angles = ce.LikelihoodEncoder(16384, 256, 10, source, draw="selected").angles(w, v)
    figure, axes = plt.subplots(1, 5, figsize=(13, 3), layout="constrained", sharey=True)
    rows = []
    for ax, depth in zip(axes, (2, 4, 6, 8, 10), strict=True):
        found = angles[depth - 1]
        ax.hist(found.numpy(), bins=np.linspace(0, 1, 51), color="#1f77b4")
        ax.set(title=f"{depth} layers", xlabel="angle over pi")
        near = torch.minimum(found, 1 - found) < 0.05
        rows.append({"layers": depth, "within_0.05": float(near.double().mean())})
        print(f"  {depth:2d} layers: {100 * rows[-1]['within_0.05']:5.1f} % within 0.05 of an end")
    axes[0].set_ylabel("samples")
    finish(figure, axes, "computational_entanglement_histograms.png")
    return rows


def finish(figure, axes, name: str) -> None:
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / name, dpi=80)
    plt.close(figure)


SECTIONS: dict[str, Callable[[bool], list[dict]]] = {
    "speed": speed,
    "exponents": exponents,
    "branches": branches,
    "curves": curves,
    "histograms": histograms,
    "reconciliation": reconciliation,
    "descent": descent,
    "verification": verification,
    "flips": flips,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / "computational_entanglement.json"
    stored = json.loads(target.read_text()) if target.exists() else {}
    print(f"{processor()}, {options.threads} thread(s), torch {torch.__version__}")
    for name in options.only:
        print(f"{name}: {SECTIONS[name].__doc__.splitlines()[0]}")
        begin = time.process_time()
        rows = SECTIONS[name](options.quick)
        seconds = time.process_time() - begin
        print(f"  ({seconds:.1f} s CPU)", flush=True)
        stored[name] = {
            "quick": options.quick,
            "cpu_s": seconds,
            "processor": processor(),
            "torch": torch.__version__,
            "rows": rows,
        }
        fresh = target.with_name(target.name + ".part")
        fresh.write_text(json.dumps(stored, indent=1))
        fresh.replace(target)


if __name__ == "__main__":
    main()
