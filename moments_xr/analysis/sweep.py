"""Functions of one cube, made to take the DataTree of a sweep as well."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from moments_xr.errors import MissingError

P = ParamSpec("P")
T = TypeVar("T", xr.DataArray, xr.Dataset)


def along_sweep(
    function: Callable[Concatenate[xr.Dataset, P], T],
) -> Callable[Concatenate[xr.Dataset | xr.DataTree, P], T]:
    """Let a function of a cube take a sweep: applied to each node, it returns one Dataset along the swept coordinates.

    A node whose cube lacks what the function needs is NaN, and the result's attribute `not_available` says why; if that is
    so of all nodes, it is an error. Attributes on which nodes differ are dropped.
    """

    @wraps(function)
    def wrapper(ds: xr.Dataset | xr.DataTree, *args: P.args, **kwargs: P.kwargs) -> T:
        if isinstance(ds, xr.Dataset):
            return function(ds, *args, **kwargs)
        results, lacking = {}, {}
        for name in points(ds):
            try:
                result: xr.DataArray | xr.Dataset = function(ds[name].to_dataset(), *args, **kwargs)
            except MissingError as error:
                result, lacking[name] = xr.Dataset(), error
            results[name] = result.to_dataset() if isinstance(result, xr.DataArray) else result
        if lacking and len(lacking) == len(results):
            raise next(iter(lacking.values()))
        combined = combine(results, points(ds))
        if lacking:
            combined.attrs["not_available"] = "; ".join(f"{name}: {error}" for name, error in lacking.items())
        return combined  # type: ignore[return-value]

    return wrapper  # type: ignore[return-value]


def points(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    """The points of a sweep, in its order: node -> key -> value."""
    if "sweep" in tree.attrs:
        stored: dict[str, dict[str, Any]] = json.loads(tree.attrs["sweep"])
        return {name: point for name, point in stored.items() if name in tree.children}
    return {
        str(name): {
            str(key): node[str(key)].item() for key in node.coords if "." in str(key) and node[str(key)].ndim == 0
        }
        for name, node in tree.children.items()
    }


def combine(results: dict[str, xr.Dataset], points: dict[str, dict[str, Any]]) -> xr.Dataset:
    """One Dataset with a dimension for each swept key (in the sweep's order of values), NaN where there is no node.

    A point's value that is not a number or text (a mapping, say) stands along the dimension as text.
    """
    keys = list(next(iter(points.values())))
    plain = {name: {key: _plain(value) for key, value in point.items()} for name, point in points.items()}

    def nest(names: list[str], depth: int) -> xr.Dataset:
        if depth == len(keys):
            return results[names[0]].drop_vars(keys, errors="ignore")
        key = keys[depth]
        values = list(dict.fromkeys(plain[name][key] for name in names))
        parts = [nest([name for name in names if plain[name][key] == value], depth + 1) for value in values]
        joined = xr.concat(
            parts, dim=key, join="outer", combine_attrs="drop_conflicts", coords="minimal", compat="override"
        )
        return joined.assign_coords({key: values})

    combined = nest(list(results), 0)
    combined.attrs = _agreed([result.attrs for result in results.values() if result.variables])
    for name in combined.variables:
        if name in keys:
            continue
        found = [result[name] for result in results.values() if name in result]
        if name in combined.data_vars:
            dims = max((values.dims for values in found), key=len)
            combined[name] = combined[name].transpose(*keys, *dims, missing_dims="ignore")
        combined[name].attrs = _agreed([values.attrs for values in found])
    return combined


def _agreed(attrs: list[dict[Any, Any]]) -> dict[Any, Any]:
    """The attributes that are the same everywhere."""
    first, *others = attrs
    return {
        key: value
        for key, value in first.items()
        if all(key in each and np.array_equal(each[key], value) for each in others)
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else json.dumps(value)
