"""The cube's schema (DESIGN 3): which variables, dimensions and labels; labelling arrays; an empty cube of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from moments_xr.activations import ACTIVATIONS
from moments_xr.quantities import BRANCH_QUANTITIES, MOMENTS, pooled_names
from moments_xr.recipe import Recipe

SCHEMA_VERSION = 1

TEXT = np.dtypes.StringDType()


@dataclass(frozen=True)
class Variable:
    """A variable of the cube; all are without unit."""

    dims: tuple[str, ...]
    dtype: Any
    long_name: str
    symbol: str | None = None

    @property
    def attrs(self) -> dict[str, str]:
        return {"long_name": self.long_name, "units": "1"} | ({"symbol": self.symbol} if self.symbol else {})

    @property
    def fill(self) -> Any:
        """What stands where nothing was computed."""
        return {"f": np.nan, "b": False, "T": ""}[np.dtype(self.dtype).kind]


BY_SITE = ("realization", "layer", "site")

VARIABLES: dict[str, Variable] = {
    "channel_moments": Variable(
        (*BY_SITE, "moment", "channel"), "f4", "moments of each channel, of the rescaled tensors"
    ),
    "pooled_moments": Variable(
        (*BY_SITE, "pooled_moment"), "f8", "moments averaged, and statistics, over channels, of the rescaled tensors"
    ),
    "log_signal_scale": Variable(("realization", "layer"), "f8", "log of the factor taken out of the signal"),
    "log_noise_scale": Variable(("realization", "layer"), "f8", "log of the factor taken out of the noise"),
    "input_mu2_signal": Variable(
        ("realization",), "f8", "variance of the input, standardised and scaled, before the embedding", "μ₂(x⁰)"
    ),
    "reff_signal": Variable(BY_SITE, "f4", "effective rank of the signal", "r_eff(x)"),
    "reff_noise": Variable(BY_SITE, "f4", "effective rank of the noise", "r_eff(dx)"),
    "slope_spread": Variable(
        ("realization", "layer"),
        "f8",
        "share of the variance of the activation's slope that is over the data within channels",
        "E_c Var_c φ'/Var φ'",
    ),
    "branch_log_increment": Variable(
        ("realization", "layer", "branch", "quantity"),
        "f4",
        "log-increment of a redraw of the layer, output over input",
        "log δq",
    ),
    "pair_correlation": Variable((*BY_SITE, "pair"), "f4", "correlation of two samples, not centred", "c_ab"),
    "device": Variable(("realization",), TEXT, "type of device that drew the realization"),
    "done": Variable(("realization",), "?", "whether the realization is complete"),
}

COORDINATES = {
    "realization": "number of the random stream",
    "layer": "depth: layer, or residual unit",
    "site": "place in the layer",
    "moment": "moment per channel",
    "pooled_moment": "moment averaged, or statistic, over channels",
    "channel": "channel",
    "branch": "redraw of the layer",
    "quantity": "quantity whose increment a branch records",
    "pair": "two samples of the batch",
}


def labels(recipe: Recipe) -> dict[str, np.ndarray]:
    """Coordinates of the recipe's cube, but for `realization`."""
    return {
        "layer": np.array(recipe.layers, dtype="i8"),
        "site": np.array(recipe.sites, dtype=object),
        "moment": np.array(recipe.moments, dtype=object),
        "pooled_moment": np.array(pooled_names(recipe.moments), dtype=object),
        "channel": np.arange(recipe.network.width),
        "branch": np.arange(recipe.measure.branches),
        "quantity": np.array(BRANCH_QUANTITIES, dtype=object),
        "pair": np.arange(recipe.measure.pairs * (recipe.measure.pairs - 1) // 2),
    }


def names(recipe: Recipe) -> tuple[str, ...]:
    """Variables of the recipe's cube."""
    absent = set() if recipe.measure.channels == "all" else {"channel_moments"}
    absent |= set() if recipe.measure.branches else {"branch_log_increment"}
    absent |= set() if recipe.measure.pairs else {"pair_correlation"}
    absent |= set() if ACTIVATIONS[recipe.network.activation].lines is None else {"slope_spread"}
    return tuple(name for name in VARIABLES if name not in absent)


def label(
    recipe: Recipe, arrays: Mapping[str, Any], realizations: Sequence[int], attrs: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """The cube of some realizations from arrays by variable, of the shapes that `VARIABLES` names."""
    known = labels(recipe) | {"realization": np.asarray(realizations, dtype="i8")}
    data = {
        name: (VARIABLES[name].dims, arrays[name], VARIABLES[name].attrs) for name in names(recipe) if name in arrays
    }
    dims = [dim for dim in COORDINATES if any(dim in variable[0] for variable in data.values())]
    coords: dict[str, Any] = {dim: (dim, known[dim], {"long_name": COORDINATES[dim], "units": "1"}) for dim in dims}
    if "moment" in coords:
        rows = [MOMENTS[name] for name in recipe.moments]
        coords["symbol"] = (
            "moment",
            np.array([row.symbol for row in rows], dtype=object),
            _attrs("symbol of the moment"),
        )
        coords["order"] = ("moment", np.array([row.order for row in rows], dtype="i8"), _attrs("order of the moment"))
        coords["tensor"] = (
            "moment",
            np.array([row.tensor for row in rows], dtype=object),
            _attrs("tensor of the moment"),
        )
    if "pair" in coords:
        for name, samples in zip(("sample_a", "sample_b"), np.triu_indices(recipe.measure.pairs, 1), strict=True):
            coords[name] = (
                "pair",
                samples,
                _attrs(f"{'first' if name == 'sample_a' else 'second'} sample of the pair"),
            )
    return xr.Dataset(data, coords, dict(attrs or {}))


def _attrs(long_name: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1"}


def complete(arrays: Mapping[str, Any], device: str) -> dict[str, Any]:
    """A block's arrays, with the device that drew them and their `done` flags."""
    count = len(arrays["pooled_moments"])
    return {**arrays, "device": np.full(count, device, dtype=TEXT), "done": np.ones(count, dtype=bool)}


def shape(recipe: Recipe, name: str, realizations: int) -> tuple[int, ...]:
    """Shape of a variable in the cube of so many realizations."""
    sizes = {dim: len(values) for dim, values in labels(recipe).items()} | {"realization": realizations}
    return tuple(sizes[dim] for dim in VARIABLES[name].dims)


def empty(recipe: Recipe, realizations: int, block: int, attrs: Mapping[str, Any]) -> xr.Dataset:
    """The template: the recipe's cube with nothing computed yet, lazy, chunked by block."""
    import dask.array as da

    arrays = {}
    for name in names(recipe):
        full = shape(recipe, name, realizations)
        arrays[name] = da.full(full, VARIABLES[name].fill, dtype=VARIABLES[name].dtype, chunks=(block, *full[1:]))
    return label(recipe, arrays, range(realizations), attrs)
