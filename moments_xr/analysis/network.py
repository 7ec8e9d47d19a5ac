"""Facts of the network that a cube was made with: from its attributes, or else from its recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from moments_xr.datasets import DATASETS
from moments_xr.errors import MissingError
from moments_xr.recipe import Recipe


def _dimensions(recipe: Recipe) -> int | None:
    """Spatial dimensions: the data's, none when fully connected; unknown of an array."""
    shape = recipe.input.shape or DATASETS[recipe.input.dataset].shape
    if recipe.network.kernel == 1:
        return 0
    return None if shape is None else len(shape) - 1


FACTS: dict[str, Callable[[Recipe], Any]] = {
    "width": lambda recipe: recipe.network.width,
    "kernel": lambda recipe: recipe.network.kernel,
    "dimensions": _dimensions,
    "unit_depth": lambda recipe: recipe.network.unit_depth,
    "boundary": lambda recipe: recipe.network.boundary,
    "activation": lambda recipe: recipe.network.activation,
    "weight_law": lambda recipe: recipe.network.weights.law,
    "weight_variance": lambda recipe: recipe.network.weights.variance,
    "bias_variance": lambda recipe: recipe.network.bias_variance,
    "dropout": lambda recipe: recipe.network.dropout,
    "epsilon": lambda recipe: recipe.network.epsilon,
}
"""Name of each fact, which is also that of the attribute, and where a recipe has it."""


def facts(recipe: Recipe) -> dict[str, Any]:
    """All facts that a recipe tells of its network, as attributes of a cube, its architecture among them."""
    told = {name: find(recipe) for name, find in FACTS.items()}
    return {"architecture": recipe.network.architecture} | {n: value for n, value in told.items() if value is not None}


def fact(ds: xr.Dataset, name: str) -> Any:
    """A fact of the network by its name in `FACTS`; the cube's attribute of that name wins over its recipe.

    Raises
    ------
    MissingError
        Neither says it; the message names the attribute.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.analysis.network import fact
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> fact(ds, "epsilon")
    0.001
    >>> fact(ds.assign_attrs(epsilon=0.0), "epsilon")
    0.0
    """
    if name in ds.attrs:
        return ds.attrs[name]
    value = FACTS[name](Recipe.from_json(ds.attrs["recipe"])) if "recipe" in ds.attrs else None
    if value is None:
        why = "its recipe does not tell" if "recipe" in ds.attrs else "it has no recipe"
        raise MissingError(f"the cube lacks the attribute '{name}' of its network, and {why}: set ds.attrs['{name}']")
    return value


def width(ds: xr.Dataset) -> int:
    """Channels N of every layer."""
    return int(fact(ds, "width"))


def fan_in(ds: xr.Dataset) -> int:
    """Inputs of a neuron after the embedding, K^d N: the width when fully connected."""
    channels, kernel = width(ds), int(fact(ds, "kernel"))
    return channels * (kernel ** int(fact(ds, "dimensions")) if kernel > 1 else 1)


def told(ds: xr.Dataset, name: str, default: Any = None) -> Any:
    """A fact, or `default` where the cube does not tell it."""
    try:
        return fact(ds, name)
    except MissingError:
        return default
