"""Formulas of the elements of arrays: lazy, in one pass over each chunk, and without warnings.

A chain of operators on chunked arrays is a small graph of Dask's within each task, and a temporary array for each
operator; one function of plain numpy is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from dask.base import is_dask_collection
from numpy.typing import NDArray

Array = NDArray[Any]


def elementwise(function: Callable[..., Any], *values: xr.DataArray) -> xr.DataArray:
    """A numpy function of elements, of arrays that are broadcast by the names of their dimensions; float64 out.

    Floating-point errors give NaN and infinities silently. Functions of a module, or `partial` of these, are named by
    Dask much faster than those defined inside others.
    """
    result: xr.DataArray = xr.apply_ufunc(partial(_apply, partial(_quiet, function)), *values, dask="allowed")
    return result


def _apply(function: Callable[..., Any], *arrays: Any) -> Any:
    if not any(is_dask_collection(array) for array in arrays):
        return function(*arrays)
    from dask.array.core import elemwise

    return elemwise(function, *arrays, dtype="f8")


def _quiet(function: Callable[..., Any], *arrays: Array) -> Any:
    with np.errstate(all="ignore"):
        return function(*arrays)


def positive(array: Array) -> Array:
    """The array, NaN where it is not positive."""
    known = array > 0
    return array if np.all(known) else np.where(known, array, np.nan)


def finite(array: Array) -> Array:
    """The array, NaN where it is infinite."""
    known = np.isfinite(array)
    return array if np.all(known) else np.where(known, array, np.nan)


def log_positive(array: Array) -> Array:
    """Logarithm, NaN of zero."""
    return np.asarray(np.log(positive(array)))


def scaled(orders: Sequence[int], array: Array, *log_scales: Array) -> Array:
    """An array times the product of scales to the powers of their orders."""
    return array * np.exp(weighted(orders, *log_scales)) if orders else +array


def log_scaled(orders: Sequence[int], array: Array, *log_scales: Array) -> Array:
    """Logarithm of `scaled`, which never overflows."""
    return np.asarray(np.log(array) + weighted(orders, *log_scales))


def weighted(weights: Sequence[float], *arrays: Array) -> Array | float:
    """Sum of arrays, each times its weight."""
    return sum((weight * array for weight, array in zip(weights, arrays, strict=True)), 0.0)
