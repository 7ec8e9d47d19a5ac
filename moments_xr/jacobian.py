"""Singular values of the Jacobians of drawn nets, labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from moments_xr.errors import RequestError
from moments_xr.inputs import load_dataset
from moments_xr.recipe import Recipe


def singular_values(
    recipe: Recipe, layers: Sequence[int] | None = None, realizations: Sequence[int] | None = None
) -> xr.DataArray:
    """Log singular values of the Jacobians of drawn nets, to lay beside `theory.singular_value_density`.

    The Jacobian is ∂x^l/∂x⁰ at one input: x⁰ is what enters layer 1, x^l the output of layer l; input and weights are those that
    `run` draws, the input being the first of a realization's batch. Fully connected it has `width` rows; convolutional ones, with
    positions × channels, are feasible up to 4096 rows.

    Parameters
    ----------
    recipe
        Without batch norm, dropout or a sweep.
    layers
        Layers l wanted; the deepest if not given.
    realizations
        Numbers of the random streams; those of the recipe if not given.

    Returns
    -------
    (realization, layer, index) float64, natural logs, largest first. −∞ where a singular value is zero, or below 1e-13 or so of the
    largest: float64 can't tell.

    Raises
    ------
    RequestError
        The net has batch norm or dropout, the Jacobian would be too large, or there is no such layer.

    Examples
    --------
    >>> import moments_xr as mx
    >>> recipe = mx.Recipe(
    ...     name="tiny",
    ...     realizations=3,
    ...     input={"dataset": "gaussian", "shape": [20], "batch": 8},
    ...     network={"architecture": "vanilla", "depth": 6, "width": 12, "kernel": 1, "activation": "tanh"},
    ... )
    >>> dict(mx.singular_values(recipe, layers=[1, 6]).sizes)
    {'realization': 3, 'layer': 2, 'index': 12}
    """
    from moments_xr.propagation.jacobian import check, log_singular_values

    check(recipe)
    wanted = [recipe.network.depth] if layers is None else sorted(int(layer) for layer in layers)
    if not wanted or wanted[0] < 1 or wanted[-1] > recipe.network.depth or len(set(wanted)) < len(wanted):
        raise RequestError(
            f"layers: {wanted} need to be different ones from 1 to network.depth, {recipe.network.depth}"
        )
    numbers = range(recipe.realizations) if realizations is None else [int(r) for r in realizations]
    if not len(numbers):
        raise RequestError("realizations: none; needs at least one")
    dataset = load_dataset(recipe)
    return xr.DataArray(
        np.stack([log_singular_values(recipe, dataset, r, wanted) for r in numbers]),
        dims=("realization", "layer", "index"),
        coords={"realization": list(numbers), "layer": wanted},
        name="log_singular_value",
        attrs={"long_name": "log of the singular values of the Jacobian", "units": "1", "symbol": "log s"},
    )
