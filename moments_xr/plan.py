"""What a recipe costs: blocks, arithmetic, bytes, estimated time. Nothing is run but a short timing of this machine."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache

from moments_xr import cube, datasets
from moments_xr.errors import RecipeError
from moments_xr.recipe import Recipe

CPU_BYTES, CUDA_BYTES = 64e6, 2e9
"""Working set that a block should stay within: a few times a processor's cache, or a part of a card's memory."""
BLOCK_LIMIT = {"cpu": 64, "cuda": 512}
SHARD_BYTES = 512e6
ORTHOGONAL = 14.0
"""Cost of a random orthogonal matrix in the products of the cube of its size: by timing, at sizes 64 to 512."""


@dataclass(frozen=True)
class Cost:
    """The cost of one node of a recipe; arithmetic, normals and bytes are of one realization."""

    node: str
    realizations: int
    block: int
    flops: float
    normals: float
    traffic: float
    eigen: float
    memory: float
    stored: float
    seconds: float
    """Of the whole node."""

    @property
    def blocks(self) -> int:
        return math.ceil(self.realizations / self.block)


@dataclass(frozen=True)
class Rates:
    """What this machine does in a second: floating-point operations, normal draws, bytes; cost n³ of eigenvalues."""

    matmul: float
    convolution: float
    normals: float
    traffic: float
    eigen: float


def plan(recipe: Recipe) -> list[Cost]:
    """The cost of each node of a recipe, without running it.

    Times are estimates from a timing of this machine (a second or so), good within a factor of two.

    Raises
    ------
    DataError
        The data set is missing, or has too few samples.

    Examples
    --------
    >>> import moments_xr as mx
    >>> [cost] = mx.plan(mx.recipe("quickstart"))
    >>> cost.blocks * cost.block >= cost.realizations
    True
    """
    return [_cost(node, name) for name, node in recipe.nodes().items()]


def sample_shape(recipe: Recipe) -> tuple[int, ...]:
    """(*space, channel) of a sample of the recipe's data, which need not be there if the data set's name tells it.

    Raises
    ------
    RecipeError
        The network does not fit the data.
    """
    row, i = datasets.DATASETS[recipe.input.dataset], recipe.input
    if row.needs_path and row.shape is not None:
        shape, size = row.shape, None
    else:
        source = datasets.load(i.dataset, path=i.path, shape=i.shape, spectrum=i.spectrum)
        shape, size = source.shape, source.size
    check_data(recipe, shape, size)
    return shape


def check_data(recipe: Recipe, shape: tuple[int, ...], size: int | None) -> None:
    """Refuse a recipe whose batch or kernel does not fit data of this shape and size (None: unlimited)."""
    dataset, kernel, space = recipe.input.dataset, recipe.network.kernel, shape[:-1]
    if size is not None and recipe.input.batch > size:
        raise RecipeError(f"input.batch: {recipe.input.batch} is more than the {size} samples of data set '{dataset}'")
    if kernel > 1 and not space:
        raise RecipeError(
            f"network.kernel: {kernel} needs samples with spatial axes, and those of '{dataset}' have shape "
            f"{shape}; 1 is fully connected"
        )
    if kernel > 1 and kernel > min(space):
        raise RecipeError(f"network.kernel: {kernel} is larger than the samples of '{dataset}', of shape {shape}")


def resolve_block(recipe: Recipe, sample: tuple[int, ...], device: str) -> int:
    """Realizations propagated together: as many as keep the working set near the cache, and a shard of a sane size."""
    if recipe.compute.block != "auto":
        return recipe.compute.block
    kind = "cuda" if device.startswith("cuda") else "cpu"
    fit = min(
        (CUDA_BYTES if kind == "cuda" else CPU_BYTES) / _working_set(recipe, sample), SHARD_BYTES / _stored(recipe)
    )
    return int(max(1, min(fit, BLOCK_LIMIT[kind], recipe.realizations)))


def _positions(recipe: Recipe, sample: tuple[int, ...]) -> tuple[int, int, int]:
    """Positions of a layer over all samples, taps of a kernel, channels of the input."""
    if recipe.network.kernel == 1:
        return recipe.input.batch, 1, math.prod(sample)
    space = [math.ceil(extent / 2) for extent in sample[:-1]]
    return recipe.input.batch * math.prod(space), recipe.network.kernel ** len(space), sample[-1]


def _working_set(recipe: Recipe, sample: tuple[int, ...]) -> float:
    positions, taps, _ = _positions(recipe, sample)
    width, size = recipe.network.width, 8 if recipe.compute.precision == "float64" else 4
    return size * (4 * 2 * positions * width + 2 * taps * width**2)


def _stored(recipe: Recipe) -> float:
    return float(
        sum(
            math.prod(cube.shape(recipe, name, 1)) * (8 if name == "pooled_moments" else 4)
            for name in cube.names(recipe)
        )
    )


def _cost(recipe: Recipe, node: str) -> Cost:
    sample = sample_shape(recipe)
    positions, taps, channels = _positions(recipe, sample)
    network, width = recipe.network, recipe.network.width
    redraws = len(recipe.layers) * recipe.measure.branches * network.convolutions // network.depth
    convolutions = network.convolutions + redraws
    products = 4.0 * positions * taps * width * (channels + convolutions * width)
    normals = float(taps * width * (channels + convolutions * width) + 2 * recipe.input.batch * math.prod(sample))
    if network.weights.law.endswith("orthogonal"):
        centre = 1 if network.weights.law.startswith("delta") else taps
        products += ORTHOGONAL * centre * width**3 * convolutions
    if network.dropout:
        normals += positions * width * convolutions  # masks are drawn at the rate of normals
    measured = len(recipe.layers) * len(recipe.sites)
    small = min(positions, width)
    ranks = measured * len(recipe.measure.effective_rank)
    gram, eigen = 2.0 * ranks * small**2 * max(positions, width), float(ranks * small**3)
    traffic = 4.0 * positions * width * (10 * 2 * convolutions + 12 * measured)
    block = resolve_block(recipe, sample, recipe.compute.device)
    r = rates()
    seconds = (
        products / (r.matmul if network.kernel == 1 else r.convolution)
        + gram / r.matmul
        + normals / r.normals
        + traffic / r.traffic
        + eigen * r.eigen
    )
    computed = math.ceil(recipe.realizations / block) * block
    return Cost(
        node, recipe.realizations, block, products + gram, normals, traffic, eigen,
        block * (_working_set(recipe, sample) + _stored(recipe)), recipe.realizations * _stored(recipe), computed * seconds,
    )  # fmt: skip


@cache
def rates() -> Rates:
    """Time this machine's device for about a second (`device: auto`)."""
    import torch
    import torch.nn.functional as F

    from moments_xr.propagation.block import resolve_device
    from moments_xr.propagation.weights import draw, streams

    device = resolve_device("auto")

    def best(work: float, function, repeats: int = 3) -> float:  # type: ignore[no-untyped-def]
        function()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
        return work / min(times)

    with torch.no_grad():
        a = torch.randn(8, 128, 512, device=device)
        w = torch.randn(8, 512, 512, device=device)
        image = torch.randn(32, 18, 18, 128, device=device).permute(0, 3, 1, 2)
        kernel = torch.randn(128, 3, 3, 128, device=device).permute(0, 3, 1, 2)
        own = streams(0, range(4), device)
        gram = (a @ a.mT) / 512
        return Rates(
            matmul=best(2.0 * 8 * 128 * 512 * 512, lambda: torch.bmm(a, w.mT)),
            convolution=best(2.0 * 32 * 256 * 9 * 128 * 128, lambda: F.conv2d(image, kernel)),
            normals=best(4 * 512 * 512, lambda: draw(own, (512, 512), 1.0, device)),
            traffic=best(4.0 * a.numel(), lambda: a.square()),
            eigen=1 / best(8 * 128.0**3, lambda: torch.linalg.eigvalsh(gram)),
        )
