"""Seconds per realization of four recipes, beside an honest plain loop and the floor, measured in one run.

    python benchmarks/propagation.py [a b c d] [--repeats 3]

* ours: `compute_block` with the block that `plan` chooses, whole (drawing, propagating, measuring).
* plain loop: one realization at a time, torch's matmul or conv2d over the whole batch, signal and noise together, on all
  threads; the same weights' law, batch norm, activations and moments, with `svdvals` for the ranks.
* floor: its matrix products or convolutions alone, at the best rate that this machine reaches for them.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

import moments_xr as mx
from moments_xr.datasets import DATASETS
from moments_xr.inputs import load_dataset
from moments_xr.plan import resolve_block
from moments_xr.propagation.block import compute_block

PHOTOS = {"dataset": "photos", "batch": 64}
BOTH = ["signal", "noise"]
CASES = {
    "a": ("FC bn_ff, width 512, batch 64, 200 layers, every 2, both ranks", {
        "input": PHOTOS, "network": {"architecture": "bn_ff", "depth": 200, "width": 512, "kernel": 1},
        "measure": {"every": 2, "effective_rank": BOTH}}),
    "b": ("FC vanilla, width 128, batch 1024, 200 layers, four measured", {
        "input": PHOTOS | {"batch": 1024}, "network": {"architecture": "vanilla", "depth": 200, "width": 128, "kernel": 1},
        "measure": {"every": 50, "effective_rank": []}}),
    "c": ("conv bn_ff, width 128, batch 64, 20 layers, every 2, both ranks", {
        "input": PHOTOS, "network": {"architecture": "bn_ff", "depth": 20, "width": 128, "kernel": 3},
        "measure": {"every": 2, "effective_rank": BOTH}}),
    "d": ("the same conv, unmeasured (its last output only)", {
        "input": PHOTOS, "network": {"architecture": "bn_ff", "depth": 20, "width": 128, "kernel": 3},
        "measure": {"every": 20, "sites": ["act"], "effective_rank": []}}),
}  # fmt: skip


def plain_loop(recipe: mx.Recipe, images: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
    """What one would write by hand; channels first, as torch has them."""
    samples = images[torch.randperm(len(images))[: recipe.input.batch]].float()
    samples = samples.flatten(1) if recipe.network.kernel == 1 else samples.movedim(-1, 1).contiguous()
    over = [0, *range(2, samples.ndim)]
    samples = (samples - samples.mean(over, keepdim=True)) / samples.std(over, keepdim=True, correction=0)
    network, measured = recipe.network, {}
    fan = samples.shape[1] * network.kernel ** (samples.ndim - 2)

    def conv(x: torch.Tensor, std: float, stride: int = 1) -> torch.Tensor:
        if x.ndim == 2:
            return x @ (torch.randn(x.shape[1], network.width) * std)
        pads = [network.kernel - 1, 0] * (x.ndim - 2)
        kernel = torch.randn(network.width, x.shape[1], network.kernel, network.kernel) * std
        return F.conv2d(F.pad(x, pads, mode="circular"), kernel, stride=stride)

    def measure(layer: int, site: str, x: torch.Tensor, dx: torch.Tensor) -> None:
        if layer not in recipe.layers or site not in recipe.sites:
            return
        x, dx = (v.movedim(1, -1).reshape(-1, network.width) for v in (x, dx))
        centred = x - x.mean(0)
        moments = [
            x.mean(0),
            x.abs().mean(0),
            (x**2).mean(0),
            (centred**2).mean(0),
            (centred**4).mean(0),
            (dx**2).mean(0),
            (dx**4).mean(0),
        ]
        measured[layer, site] = torch.stack(moments).mean(1)
        for tensor in recipe.measure.effective_rank:
            values = torch.linalg.svdvals(centred if tensor == "signal" else dx - dx.mean(0)).square()
            measured[layer, f"{site} rank {tensor}"] = values.sum() / values.max()

    x = torch.cat([samples, torch.randn_like(samples)])
    x = conv(x, fan**-0.5, 1 if network.kernel == 1 else 2)
    fan = network.width * network.kernel ** (samples.ndim - 2)
    half = len(samples)
    for layer in range(1, network.depth + 1):
        measure(layer, "input", x[:half], x[half:])
        y = conv(x, (2 / fan) ** 0.5)
        signal, noise = y[:half], y[half:]
        measure(layer, "conv", signal, noise)
        if network.architecture == "bn_ff":
            dims = [0, *range(2, y.ndim)]
            mean, scale = (
                signal.mean(dims, keepdim=True),
                (signal.var(dims, keepdim=True, correction=0) + network.epsilon).rsqrt(),
            )
            signal, noise = (signal - mean) * scale, noise * scale
            measure(layer, "norm", signal, noise)
        signal, noise = F.relu(signal), noise * (signal > 0)
        measure(layer, "act", signal, noise)
        x = torch.cat([signal, noise / noise.square().mean().sqrt()])
    return measured


def photographs() -> np.ndarray:
    """All crops, as the data set holds them."""
    return DATASETS["photos"].read().copy()


def floor(recipe: mx.Recipe, sample: tuple[int, ...]) -> float:
    """Arithmetic of the products or convolutions over the best measured rate."""
    network, batch, width = recipe.network, recipe.input.batch, recipe.network.width
    if network.kernel == 1:
        features = math.prod(sample)
        flops = 4 * batch * width * (features + network.depth * width)
        best = max(
            4
            * batch
            * width
            * width
            * r
            / fastest(lambda a=torch.randn(r, 2 * batch, width), w=torch.randn(r, width, width): torch.bmm(a, w), 5)
            for r in (1, 4, 16)
        )
        return flops / best
    positions = batch * math.prod(extent // 2 for extent in sample[:-1])
    taps = network.kernel ** (len(sample) - 1)
    flops = 4 * positions * taps * width * (sample[-1] + network.depth * width)
    extents = [extent // 2 + network.kernel - 1 for extent in sample[:-1]]
    image = torch.randn(2 * batch, width, *extents)
    kernel = torch.randn(width, width, network.kernel, network.kernel)
    best = max(
        4
        * positions
        * taps
        * width
        * width
        / fastest(lambda i=image.to(memory_format=f), k=kernel.to(memory_format=f): F.conv2d(i, k), 5)
        for f in (torch.channels_last, torch.contiguous_format)
    )
    return flops / best


def fastest(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; seconds per realization")
    print(f"{'case':66}{'ours':>8}{'loop':>8}{'floor':>8}{'loop/ours':>11}{'ours/floor':>12}")
    for name in arguments.cases:
        title, sections = CASES[name]
        recipe = mx.Recipe(name=name, realizations=1000, **sections)
        dataset = load_dataset(recipe)
        block = resolve_block(recipe, dataset.shape, "cpu")
        images = torch.from_numpy(photographs())
        ours = fastest(lambda: compute_block(recipe, range(block), dataset), arguments.repeats) / block
        loop = fastest(lambda: plain_loop(recipe, images), arguments.repeats)
        least = floor(recipe, dataset.shape)
        print(
            f"{f'({name}) {title}':66}{ours:8.3f}{loop:8.3f}{least:8.3f}{loop / ours:11.2f}{ours / least:12.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
