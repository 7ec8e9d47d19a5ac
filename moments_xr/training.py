"""Nets of a recipe really trained, to lay beside the depth that theory gives them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from moments_xr.analysis.sweep import combine
from moments_xr.datasets import standardise
from moments_xr.errors import RecipeError, RequestError
from moments_xr.progress import Progress
from moments_xr.recipe import Recipe, sweep_points

if TYPE_CHECKING:
    from moments_xr.propagation.training import Net

LABELLED = ("digits",)
"""Data sets whose classes are known."""

TOGETHER = 512e6
"""Bytes that weights, gradients and the signal of all samples may take in the nets trained at once."""

ACTIVATIONS_HELD = 3
"""Signals of a layer that are held at once when all samples are looked at."""

LAWS = {"weights", "bias_variance"}
"""Keys of `network` in which nets trained at once may differ."""


def train(
    recipe: Recipe,
    steps: Sequence[int] = (0, 100, 400),
    rate: float = 0.005,
    optimiser: str = "sgd",
    *,
    progress: bool = True,
) -> xr.Dataset:
    """Train the nets of a recipe to tell the classes of its data, from its own laws of weights and biases.

    Fully-connected nets of any architecture get a linear read-out to the classes, of variance 1/N, and all their weights
    and biases are trained on the mean cross-entropy at one learning rate, without decay. A step takes `input.batch` samples.
    Realization r starts from the weights that `run` gives it and sees the same batches in every node.
    Batch norm, without parameters, takes its statistics over the samples at hand.

    Parameters
    ----------
    recipe
        On data set `digits`, with `network.kernel: 1` and no dropout; commonly a sweep over `network.depth` and
        `network.weights.variance`. Nets that differ in realization or in the laws of their weights only are trained at once.
    steps
        After how many steps to look, increasing; training ends with the last.
    rate
        Learning rate.
    optimiser
        "sgd": plain, without momentum; or "adam": Kingma & Ba 2014, with β₁ = 0.9, β₂ = 0.999 and ε = 1e-8. Adam does not
        feel the size of gradients, down to its ε.
    progress
        Show which nets are trained (the deepest first), rate and time left.

    Returns
    -------
    `training_accuracy`, the fraction of all 1797 digits that are told right, and `loss`, the cross-entropy over them, along
    the swept keys, `realization` and `step`. A loss that is not finite tells of a net that diverged; nets
    trained beside it do not feel it.

    Raises
    ------
    RecipeError
        A key of the recipe is not for training.
    RequestError
        Steps do not increase from 0 or more, the rate is not positive, or there is no such optimiser.

    References
    ----------
    Schoenholz et al. 2016, arXiv:1611.01232, Figure 5; Kingma & Ba 2014, arXiv:1412.6980.

    Examples
    --------
    >>> import moments_xr as mx
    >>> recipe = mx.recipe("trainable_depth", {"network.width": 32, "sweep": {"network.depth": [2, 4]}})
    >>> ds = mx.train(recipe, steps=[0, 50], rate=0.05, progress=False)
    >>> dict(ds.sizes), (ds.training_accuracy.sel(step=50) > 0.5).all().item()
    ({'network.depth': 2, 'realization': 1, 'step': 2}, True)
    """
    nodes = recipe.nodes()
    for node in nodes.values():
        check(node)
    times = [int(step) for step in np.atleast_1d(steps)]
    if not times or times[0] < 0 or sorted(set(times)) != list(np.atleast_1d(steps)):
        raise RequestError(f"steps: {steps} need to be whole numbers that increase, the first at least 0")
    if not 0 < rate < np.inf:
        raise RequestError(f"rate: {rate} is a learning rate; needs to be positive")
    from moments_xr.propagation.training import OPTIMISERS, train_nets

    if optimiser not in OPTIMISERS:
        raise RequestError(f"optimiser: {optimiser!r} is not one of {', '.join(OPTIMISERS)}")

    signal, labels = labelled(recipe.input.dataset)
    trained: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in nodes}
    blocks = _blocks(nodes, *signal.shape)
    with Progress([(nodes[block[0][0]], range(len(block))) for block in blocks], progress) as bar:
        for block in blocks:
            nets: list[Net] = [(nodes[name], realization) for name, realization in block]
            depth, scale = nets[0][0].network.depth, nets[0][0].input.scale
            tell = partial(_tell, bar, depth, times[-1])
            found = train_nets(nets, scale * signal, labels, times, optimiser, rate, tell)
            for (name, _), accuracy, loss in zip(block, *found, strict=True):
                trained[name].append((accuracy, loss))
            bar.block_done()
    results = {name: _label(np.stack(found, 1), times) for name, found in trained.items()}
    if recipe.sweep is None:
        [ds] = results.values()
    else:
        ds = combine(results, dict(zip(nodes, sweep_points(recipe.sweep), strict=True)))
    return ds.assign_attrs(recipe=recipe.to_json(), learning_rate=rate, optimiser=optimiser)


def check(recipe: Recipe) -> None:
    """Whether nets of this recipe, which has no sweep, can be trained.

    Raises
    ------
    RecipeError
        They can't: the message says why.
    """
    i, network = recipe.input, recipe.network
    if i.dataset not in LABELLED:
        raise RecipeError(f"input.dataset: '{i.dataset}' has no labels to train on; needs {', '.join(LABELLED)}")
    if network.kernel != 1:
        raise RecipeError(f"network.kernel: {network.kernel} is of convolutions; nets to train need 1, fully connected")
    if network.dropout:
        raise RecipeError(f"network.dropout: {network.dropout:g} is not for nets to train, which need 0")
    size = len(labelled(i.dataset)[1])
    if i.batch > size:
        raise RecipeError(f"input.batch: {i.batch} is more than the {size} samples of data set '{i.dataset}'")


@cache
def labelled(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    """All samples, flattened and standardised, and their classes: (sample, feature) float32, (sample,) int64."""
    from sklearn.datasets import load_digits

    assert dataset == "digits"
    images, labels = load_digits(return_X_y=True)
    return standardise(images, flatten=True), np.asarray(labels, dtype=np.int64)


def _tell(bar: Progress, depth: int, last: int, step: int) -> None:
    """Steps of the training, as the layers by which progress counts."""
    bar.layer(-(-depth * step // last))


def _blocks(nodes: dict[str, Recipe], samples: int, features: int) -> list[list[tuple[str, int]]]:
    """Nets (node, realization) to be trained at once: of one shape, and not too many; the deepest first."""
    outside = {"name", "description", "seed", "realizations", "measure", "sweep"}

    def shape(name: str) -> tuple[int, str]:
        node = nodes[name]
        return -node.network.convolutions, node.model_dump_json(
            exclude={**dict.fromkeys(outside, True), "network": LAWS}
        )

    blocks = []
    for _, alike in groupby(sorted(nodes, key=shape), shape):
        names = list(alike)
        network = nodes[names[0]].network
        weights = network.width * (features + network.width * network.convolutions)
        looked = ACTIVATIONS_HELD * network.width * samples
        most = max(1, int(TOGETHER / (8 * weights + 4 * looked)))
        nets = [(name, realization) for name in names for realization in range(nodes[name].realizations)]
        blocks += [nets[k : k + most] for k in range(0, len(nets), most)]
    return blocks


def _label(found: np.ndarray, steps: list[int]) -> xr.Dataset:
    """One node: (accuracy or loss, realization, step)."""
    dims = ("realization", "step")
    accuracy = {"long_name": "fraction of the training samples told right", "units": "1"}
    loss = {"long_name": "cross-entropy over the training samples", "units": "1"}
    step = {"long_name": "steps of training", "units": "1"}
    return xr.Dataset(
        {"training_accuracy": (dims, found[0], accuracy), "loss": (dims, found[1], loss)},
        coords={"realization": np.arange(found.shape[1]), "step": ("step", steps, step)},
    )
