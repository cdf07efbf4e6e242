"""Seconds of processor that the uncertainty relation takes, against draws, points and the network.

A small CNN on 28 x 28 pixels, single precision; beside the whole, the network alone: forward and
backward for as many samples, which is what any estimate of gradients needs. Runs alternate, the
fastest of --repeats counts, as other work on the machine only adds. Gradients with respect to an
input of one channel are the bulk of it, and oneDNN is slow at them: --native takes PyTorch's own
convolutions.

    python benchmarks/bench_uncertainty.py [--points 100] [--draws 4096] [--repeats 2] [--workers 1]
        [--native]

Workers are threads of Python that share the points; PyTorch takes one thread in each, as its
convolutions hardly gain by a second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from entangle.uncertainty import uncertainty_relation

BATCH = 1024
SHARES = [(1, 1), (2, 1), (1, 2), (4, 4)]  # of points and draws that the sizes are divided by


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 2, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(144, 10),
    )  # fmt: skip


def gradients(module: nn.Module, nodes: Tensor, number: int) -> None:
    for _ in range(0, number, BATCH):
        leaf = nodes.clone().requires_grad_()
        torch.autograd.grad(module(leaf).logsumexp(1).sum(), leaf)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("points", 100), ("draws", 4096), ("repeats", 2), ("workers", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--native", action="store_true", help="without oneDNN")
    options = parser.parse_args()
    torch.set_num_threads(1)
    workers = ThreadPoolExecutor(options.workers)
    torch.backends.mkldnn.set_flags(not options.native)
    module, samples = network().eval(), torch.rand(options.points, 1, 28, 28)
    nodes = torch.rand(BATCH, 1, 28, 28)
    for fewer_points, fewer_draws in SHARES:
        points, draws = options.points // fewer_points, options.draws // fewer_draws

        def part(rows: Tensor, draws: int = draws) -> None:
            labels = torch.zeros(len(rows), dtype=torch.long)
            uncertainty_relation(module, rows, labels, tau=0.1, draws=draws, batch_size=BATCH)

        def whole(points: int = points, part: Callable[[Tensor], None] = part) -> None:
            list(workers.map(part, samples[:points].chunk(options.workers)))

        def alone(number: int = points * draws // options.workers) -> None:
            list(workers.map(lambda _: gradients(module, nodes, number), range(options.workers)))

        runs = [(seconds(whole), seconds(alone)) for _ in range(options.repeats)]
        ours, peer = (min(run[i] for run in runs) for i in range(2))
        print(
            f"{points} points x {draws} draws: {ours[0]:.1f} s of processor ({ours[1]:.1f} s by "
            f"the clock), the network alone {peer[0]:.1f} s"
        )


if __name__ == "__main__":
    main()
