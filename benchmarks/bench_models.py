"""Seconds of one epoch of each local network, beside the public implementations of its layers.

A step is forward, backward and an update by AdamW, on a batch as published. Steps cost the same,
so an epoch is the fastest of some steps times their number; ours and the peer's take turns, in
processor seconds of one thread, which other work on the machine does not change much. Both get the
same weights, and the largest difference of their logits is printed before anything is timed. It is
rounding for S4. The local-attention package, 1.11, turns queries by one window more than the keys
beside them, and lets the places that fill the last window be looked at; without these two ours
gives its logits to rounding. Where the processor has bfloat16, a step as mixed_precision takes it
is timed as well.

    python benchmarks/bench_models.py [--samples 1000] [--length 2048] [--steps 3] [--s4 CHECKOUT]

Peers: the local-attention package (`pip install local-attention`) and models/s4/s4d.py in a
checkout of state-spaces/s4, which no package index has. The convolutional networks and the control
are stacks of torch's own layers; nothing public is faster than those.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time

import torch
from cells import processor
from torch import nn

from entangle.models import MODELS, build_model
from entangle.supervised import has_bfloat16

CLASSES = 35


class PeerTransformer(nn.Module):
    """Blocks of the local-attention package, with our weights."""

    def __init__(self, ours):
        from local_attention.transformer import FeedForward, LocalMHA

        super().__init__()
        self.encoder, self.decoder = ours.encoder, ours.decoder
        width = ours.encoder.out_features
        self.blocks = nn.ModuleList()
        for attention, gated in zip(ours.attention, ours.gated, strict=True):
            heads = attention.heads
            mixing = LocalMHA(
                dim=width, window_size=attention.window, heads=heads, prenorm=False,
                dim_head=attention.inputs.out_features // (3 * heads), exact_windowsize=False,
            )  # fmt: skip
            mixing.to_qkv, mixing.to_out = attention.inputs, attention.outputs
            feed = FeedForward(width)
            feed[0], feed[1], feed[4] = gated.norm, gated.inputs, gated.outputs
            self.blocks.append(nn.ModuleList([mixing, feed]))

    def forward(self, values):
        """Logits, shape ``(batch, classes)``."""
        held = self.encoder(values.mT)
        for mixing, feed in self.blocks:
            held = held + mixing(held)
            held = held + feed(held)
        return self.decoder(held.mean(dim=1))


class PeerS4(nn.Module):
    """Layers of s4d.py of state-spaces/s4, with our weights."""

    def __init__(self, ours):
        from models.s4.s4d import S4D

        super().__init__()
        self.encoder, self.decoder = ours.encoder, ours.decoder
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        with torch.no_grad():
            for mine in ours.layers:
                space = mine.space
                layer = S4D(len(space.skip), d_state=2 * space.log_decay.shape[1])
                layer.D.copy_(space.skip)
                layer.kernel.C.copy_(space.readout[0])
                layer.kernel.log_dt.copy_(space.log_step)
                layer.kernel.log_A_real.copy_(space.log_decay)
                layer.kernel.A_imag.copy_(space.frequency)
                layer.output_linear[0].weight.copy_(mine.gate.weight[..., None])
                layer.output_linear[0].bias.copy_(mine.gate.bias)
                self.layers.append(layer)
                self.norms.append(mine.norm)

    def forward(self, values):
        """Logits, shape ``(batch, classes)``."""
        held = self.encoder(values.mT).mT
        for layer, norm in zip(self.layers, self.norms, strict=True):
            found, _ = layer(held)
            held = norm((held + found).mT).mT
        return self.decoder(held.mean(dim=2))


PEERS = {"attention": ("local_attention", PeerTransformer), "s4": ("models.s4.s4d", PeerS4)}


def available(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def step_of(module, values, labels, mixed=False):
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = module(values)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def seconds(steps, n_rounds):
    """Fastest of some rounds of each step, in turns, after one that warms up."""
    best = [float("inf")] * len(steps)
    for number in range(n_rounds + 1):
        for index, step in enumerate(steps):
            begin = time.process_time()
            step()
            if number:
                best[index] = min(best[index], time.process_time() - begin)
    return best


def measure(name, n_samples, length, n_rounds):
    batch = min(MODELS[name].batch_size, n_samples)
    ours = build_model(name, 1, (length,), CLASSES, seed=0)
    source = torch.Generator().manual_seed(0)
    values = torch.randn(batch, 1, length, generator=source)
    labels = torch.randint(0, CLASSES, (batch,), generator=source)
    package, kind = PEERS.get(name, (None, None))
    modules = [ours]
    if package is not None and available(package):
        modules.append(kind(ours))
        with torch.no_grad():
            difference = float((modules[1](values) - ours(values)).abs().max())
        print(f"{name:12s} largest difference of logits {difference:.1e}", flush=True)
    mixed = has_bfloat16(torch.device("cpu"))
    steps = [step_of(module, values, labels) for module in modules]
    steps += [step_of(ours, values, labels, mixed=True)] * mixed
    epochs = [n_samples / batch * each for each in seconds(steps, n_rounds)]
    said = f"{name:12s} batch {batch:3d}  ours {epochs[0]:7.1f} s an epoch"
    if mixed:
        said += f"  in bfloat16 {epochs[-1]:7.1f} s, speed {epochs[0] / epochs[-1]:.2f}"
    if modules[1:]:
        said += f"  peer {epochs[1]:7.1f} s  ratio {epochs[0] / epochs[1]:.2f}"
    elif package is not None:
        said += f"  peer: {package} is not installed"
    print(said, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--s4", help="a checkout of state-spaces/s4")
    given = parser.parse_args()
    if given.s4:
        sys.path.insert(0, given.s4)
    torch.set_num_threads(1)
    print(f"{processor()}, one thread, torch {torch.__version__}; {given.samples} x {given.length}")
    for name in given.models:
        measure(name, given.samples, given.length, given.steps)


if __name__ == "__main__":
    main()
