"""The standard error of a difference of two means over realizations, of which some are of the same realizations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from moments_xr.analysis.realizations import INTERVAL, LEVEL, central_moments

Part = tuple[xr.DataArray, xr.DataArray]
"""Variance of a sum, and its degrees of freedom."""


def error_of_difference(measured: xr.DataArray, predicted: xr.DataArray) -> xr.DataArray:
    """Standard error of mean(measured) − mean(predicted), where the first realizations of both may be the same ones.

    The difference is a sum of independent terms: of R nets and B predictions, m/R − p/B of each net that has one, m/R of the other
    nets, p/B of the other predictions. So it holds whether measured and predicted share inputs or not, without an estimate of
    their covariance that could make it negative. It is wider by Student's t over the normal quantile at 95 %, with the degrees of
    freedom of Welch and Satterthwaite.

    Parameters
    ----------
    measured, predicted
        (realization, …), the first of one going with the first of the other; NaN in `measured` is left out.

    Returns
    -------
    The other dimensions; NaN of fewer than `INTERVAL` values of `measured`, or where one prediction has to tell a spread.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from moments_xr.analysis.paired import error_of_difference
    >>> inputs, luck = np.random.default_rng(0).normal(size=(2, 1000))
    >>> predicted, measured = (xr.DataArray(x, dims="realization") for x in (inputs, inputs + 0.1 * luck))
    >>> float(error_of_difference(measured, predicted).round(3))  # 0.1/√1000
    0.003
    """
    measured = measured if "realization" in measured.dims else measured.expand_dims("realization")
    measured, predicted = (values.drop_vars("realization", errors="ignore") for values in (measured, predicted))
    found, theory, batches = central_moments(measured), central_moments(predicted), predicted.sizes["realization"]
    count = found["count"].where(found["count"] > 0)
    together = {"realization": slice(min(batches, measured.sizes["realization"]))}
    both = central_moments(measured.isel(together) / count - predicted.isel(together) / batches)
    parts = [
        _of_sum(both, both["count"], 1.0),
        _of_sum(found, found["count"] - both["count"], 1 / count),
        _of_sum(theory, theory["count"] - both["count"], 1 / batches),
    ]
    return _error(parts).where(count >= INTERVAL)


def _of_sum(moments: xr.Dataset, terms: xr.DataArray, factor: xr.DataArray | float) -> Part:
    """Of so many independent terms, values times a factor, from moments of values like them."""
    freedom = moments["count"] - 1
    variance = terms * factor**2 * moments["m2"] / freedom.where(freedom > 0)
    return variance.where(terms > 0, 0.0), freedom


def _error(parts: Sequence[Part]) -> xr.DataArray:
    variance = sum((part for part, _ in parts), xr.DataArray(0.0))
    spread = sum((part**2 / freedom.where(freedom > 0, 1) for part, freedom in parts), xr.DataArray(0.0))
    wider = xr.apply_ufunc(_wider, variance**2 / spread.where(spread > 0), dask="parallelized", output_dtypes=["f8"])
    return xr.ufuncs.sqrt(variance) * wider


def _wider(freedom: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(stats.t.ppf(0.5 + LEVEL / 2, freedom) / stats.norm.ppf(0.5 + LEVEL / 2))
