"""The input batch of each realization: what its random stream takes from the data set, standardised and scaled. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moments_xr import datasets
from moments_xr.recipe import Recipe


def sampler(seed: int, *key: int) -> np.random.Generator:
    """The generator that a realization (the first key) takes its samples with."""
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=key)))


def load_dataset(recipe: Recipe) -> datasets.Dataset:
    """The data set that a recipe names."""
    return datasets.load(
        recipe.input.dataset, path=recipe.input.path, shape=recipe.input.shape, spectrum=recipe.input.spectrum
    )


def input_batch(recipe: Recipe, realization: int, dataset: datasets.Dataset) -> NDArray[np.float32]:
    """x⁰ of one realization, standardised, times `input.scale`: (sample, *space, channel), or (sample, feature) when fully connected.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.inputs import input_batch, load_dataset
    >>> recipe = mx.recipe("quickstart")
    >>> input_batch(recipe, 0, load_dataset(recipe)).shape
    (64, 3072)
    """
    samples = dataset.take(sampler(recipe.seed, realization), recipe.input.batch)
    return recipe.input.scale * datasets.standardise(samples, flatten=recipe.network.kernel == 1)
