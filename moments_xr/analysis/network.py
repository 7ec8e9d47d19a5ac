"""Facts of the network behind a cube: from its attributes where they are given, else from its recipe."""

from __future__ import annotations

from typing import Any

import xarray as xr

from moments_xr.errors import MissingError
from moments_xr.recipe import Recipe


def fact(ds: xr.Dataset, name: str) -> Any:
    """A key of the recipe's `network` (width, kernel, boundary, unit_depth, epsilon…), defaults filled in.

    An attribute of the same name wins: cubes made elsewhere may have no recipe.

    Raises
    ------
    MissingError
        The cube says nothing of it.
    """
    if name in ds.attrs:
        return ds.attrs[name]
    if "recipe" not in ds.attrs:
        raise MissingError(f"the cube does not say its network's {name}: set ds.attrs['{name}']")
    return getattr(Recipe.from_json(ds.attrs["recipe"]).network, name)


def width(ds: xr.Dataset) -> int:
    """Channels of every layer, N."""
    if "width" not in ds.attrs and "channel" in ds.sizes:
        return int(ds.sizes["channel"])
    return int(fact(ds, "width"))


def dimensions(ds: xr.Dataset) -> int:
    """Spatial dimensions d of the signal; 0 when fully connected."""
    if "dimensions" in ds.attrs:
        return int(ds.attrs["dimensions"])
    if fact(ds, "kernel") == 1:
        return 0
    if "recipe" not in ds.attrs:
        raise MissingError("the cube does not say its spatial dimensions: set ds.attrs['dimensions']")
    source = Recipe.from_json(ds.attrs["recipe"]).input
    if source.dataset == "array":
        raise MissingError("the cube does not say its spatial dimensions: set ds.attrs['dimensions']")
    return len(source.shape) - 1 if source.shape else 2


def fan_in(ds: xr.Dataset) -> int:
    """Inputs of each unit, K^d N, of a layer between two of the same width."""
    return int(fact(ds, "kernel") ** dimensions(ds)) * width(ds)


def weight_variance(ds: xr.Dataset) -> float:
    """Variance of the weights times their fan-in: 2 for He's law, which is taken where nothing is said."""
    if "weight_variance" in ds.attrs or "recipe" not in ds.attrs:
        return float(ds.attrs.get("weight_variance", 2.0))
    return float(fact(ds, "weights").variance)


def why_not_statistics_preserving(ds: xr.Dataset) -> str | None:
    """Why the theorems on moments do not apply to this net: a bias, or a boundary that changes the signal's statistics."""
    if "recipe" not in ds.attrs:
        return None
    if fact(ds, "bias_variance") > 0:
        return f"biases have variance {fact(ds, 'bias_variance'):g}, and the theorems are of nets without bias"
    if fact(ds, "boundary") == "zero" and fact(ds, "kernel") > 1:
        return "the boundary is zero, and the theorems need one that preserves the signal's statistics"
    return None
