"""Statistics over realizations: what comes from independent nets, mergeable in any order and in bounded memory.

Intervals come from realizations, never from layers: along its depth a curve is a random walk. Every function here is lazy
on chunked values, reads each chunk once, and gives the same result whatever the chunking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import gcd
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from moments_xr.analysis.elementwise import elementwise

LEVEL = 0.95
"""Confidence of every interval."""

GROUPS = 1000
"""Above twice as many, realizations are averaged in groups before anything is fitted."""

CENTRAL = ("count", "mean", "m2", "m3", "m4")

INTERVAL = 3
"""Least realizations of an interval."""

Array = NDArray[Any]


def curves(values: xr.DataArray) -> xr.DataArray:
    """Rows that are independent and alike: (realization, ...) in one chunk, each a realization or the mean of a group.

    A realization that is undefined at any layer (a dead net) is NaN at all of them: its row is conditioned away whole.
    Means over equal groups of realizations are independent too and have the same expectation, so that what is fitted
    to rows, and its interval, hold for any number of realizations in the memory of about a thousand.
    """
    if "realization" not in values.dims:
        values = values.expand_dims("realization")
    values = values.transpose("realization", ...)
    size = max(1, values.sizes["realization"] // GROUPS)
    if values.chunks is None:
        rows: Any = _means_of_groups(values.values, size)
    else:
        aligned = max(1, round(values.chunks[0][0] / size)) * size
        array = values.chunk(dict.fromkeys(values.dims, -1) | {"realization": aligned}).data
        chunks = tuple(-(-count // size) for count in array.chunks[0]), *array.chunks[1:]
        rows = array.map_blocks(_means_of_groups, size, chunks=chunks, dtype="f8").rechunk(-1)
    coords = {name: coord for name, coord in values.coords.items() if size == 1 or "realization" not in coord.dims}
    return xr.DataArray(rows, coords, values.dims, values.name, values.attrs)


def _means_of_groups(block: Array, size: int) -> Array:
    """Means of each `size` rows after one another, of the last ones fewer; rows with NaN anywhere are left out."""
    starts, others = np.arange(0, len(block), size), tuple(range(1, block.ndim))
    with np.errstate(invalid="ignore"):
        total = np.add.reduceat(block, starts)
    count = np.diff(starts, append=len(block)).astype("f8")
    if not np.isfinite(total).all():
        defined = np.isfinite(block).all(others)
        total = np.add.reduceat(np.where(np.expand_dims(defined, others), block, 0.0), starts)
        count = np.add.reduceat(defined, starts, dtype="f8")
        count[count == 0] = np.nan
    return np.asarray(total / np.expand_dims(count, others))


def central_moments(values: xr.DataArray, highest: Literal[2, 4] = 2) -> xr.Dataset:
    """Count, mean and sums of the 2nd to 4th powers of deviations over realizations, merged as a tree; NaN left out.

    Returns
    -------
    Variables `count`, `mean`, `m2` and, up to the `highest`, `m3`, `m4` with the other dimensions.
    """
    accumulate, merge = partial(_accumulate, highest=highest), partial(_merge, highest=highest)
    return _reduced(values, accumulate, merge, CENTRAL[: 1 + highest])


def _reduced(
    values: xr.DataArray, accumulate: Callable[..., Array], merge: Callable[..., Array], names: Sequence[str]
) -> xr.Dataset:
    """Statistics over realizations, merged as a tree.

    `accumulate` makes them of a block (realization, ...), one after the other along its first axis; `merge` takes those of
    several blocks, joined along that axis, into one.
    """
    if "realization" not in values.dims:
        values = values.expand_dims("realization")
    values = values.transpose("realization", ...)
    if values.chunks is None:
        merged: Any = accumulate(values.values)
    else:
        import dask.array as da

        merged = da.reduction(
            values.data,
            chunk=accumulate,
            combine=merge,
            aggregate=merge,
            axis=0,
            keepdims=True,
            output_size=len(names),
            split_every=8,
            dtype="f8",
            meta=np.empty((0,) * values.ndim),
        )
    rows = xr.Variable(("statistic", *values.dims[1:]), merged)
    coords = {name: coord for name, coord in values.coords.items() if "realization" not in coord.dims}
    return xr.Dataset({name: rows.isel(statistic=k) for k, name in enumerate(names)}, coords)


def _accumulate(block: Array, highest: int, **_: Any) -> Array:
    """Central moments of a block along its first axis, in float64: (3, ...) or, up to the 4th, (5, ...)."""
    together = gcd(len(block), 16)  # rows taken as one, since numpy is slow on short ones
    rows = np.asarray(block, dtype="f8").reshape(len(block) // together, together, *block.shape[1:])
    with np.errstate(invalid="ignore"):
        total = rows.sum(0).sum(0)
    if len(block) and np.isfinite(total).all():  # then all are, and nothing is left out
        count, mean = np.full(total.shape, float(len(block))), total / len(block)
        deviation = rows - mean
    else:
        defined = np.isfinite(rows)
        weights, deviation = defined.astype("f8"), np.where(defined, rows, 0.0)
        count = weights.sum(0).sum(0)
        mean = deviation.sum(0).sum(0) / np.maximum(count, 1)
        deviation -= mean
        deviation *= weights
    factors = [(deviation, deviation)]
    if highest > 2:
        square = deviation * deviation
        factors += [(square, deviation), (square, square)]
    sums = [np.einsum("r...,r...->...", *pair).sum(0) for pair in factors]
    return np.stack([count, mean, *sums])


def _merge(parts: Array, highest: int, **_: Any) -> Array:
    """Merge central moments that stand one after the other along the first axis (Pébay 2008)."""
    stacked = parts.reshape(-1, 1 + highest, *parts.shape[1:])
    merged = stacked[0]
    for part in stacked[1:]:
        (n_a, mean_a, m2_a, *higher_a), (n_b, mean_b, m2_b, *higher_b) = merged, part
        n = np.maximum(n_a + n_b, 1)
        d = mean_b - mean_a
        a, b = n_a / n, n_b / n
        rows = [n_a + n_b, a * mean_a + b * mean_b, m2_a + m2_b + d**2 * a * n_b]
        if highest > 2:
            (m3_a, m4_a), (m3_b, m4_b) = higher_a, higher_b
            rows += [
                m3_a + m3_b + d**3 * a * n_b * (a - b) + 3 * d * (a * m2_b - b * m2_a),
                m4_a
                + m4_b
                + d**4 * a * n_b * (a**2 - a * b + b**2)
                + 6 * d**2 * (a**2 * m2_b + b**2 * m2_a)
                + 4 * d * (a * m3_b - b * m3_a),
            ]
        merged = np.stack(rows)
    return merged


def fitted(
    function: Callable[..., Sequence[Any]],
    outputs: Mapping[str, str],
    *arrays: xr.DataArray,
    core_dims: Sequence[Sequence[str]],
    along: str | None = None,
) -> xr.Dataset:
    """Several results of one numerical function on arrays, as variables; lazy if any input is.

    Parameters
    ----------
    function
        Takes the arrays, core dimensions last; returns one array for each output, of the shape of what is not core,
        followed by `along` if given.
    outputs
        Name of each output and its long name.
    core_dims
        Dimensions of each array that the function uses up.
    along
        A core dimension that the outputs keep.
    """
    kept = [along] if along else []

    result = xr.apply_ufunc(
        partial(_stacked, function),
        *arrays,
        input_core_dims=[list(dims) for dims in core_dims],
        output_core_dims=[[*kept, "output"]],
        dask="parallelized",
        output_dtypes=["f8"],
        dask_gufunc_kwargs={"output_sizes": {"output": len(outputs)}},
        keep_attrs=False,
    )
    table = {name: result.isel(output=k) for k, name in enumerate(outputs)}
    return xr.Dataset({name: values.assign_attrs(described(outputs[name])) for name, values in table.items()})


def _stacked(function: Callable[..., Sequence[Any]], *values: Array) -> Array:
    return np.stack([np.asarray(result, dtype="f8") for result in function(*values)], axis=-1)


def described(long_name: str, symbol: str | None = None) -> dict[str, str]:
    """Attributes of a result; all are without unit."""
    return {"long_name": long_name, "units": "1"} | ({"symbol": symbol} if symbol else {})


def mean_interval(rows: Array, axis: int = 0, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Mean over independent rows and its interval, that of `reach`; NaN rows left out.

    Returns the mean and its bounds; with fewer than `INTERVAL` rows the bounds are NaN.
    """
    count = np.isfinite(rows).sum(axis)
    safe = np.maximum(count, 1)
    mean = np.where(count > 0, np.nansum(rows, axis=axis) / safe, np.nan)
    deviation = rows - np.expand_dims(mean, axis)
    square = deviation * deviation
    m2, m3 = np.nansum(square, axis=axis), np.nansum(square * deviation, axis=axis)
    below, above = reach(np.where(count >= INTERVAL, count, np.nan), m2, m3, level)
    return mean, mean - below, mean + above


@np.errstate(invalid="ignore", divide="ignore")
def reach(count: Array, m2: Array, m3: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """How far the interval of a mean reaches below and above it, from sums of squared and cubed deviations.

    It is the t interval, and on the side of the longer tail it goes on to where Hall's transformation, which removes the
    effect of skewness on t (J. R. Stat. Soc. B 54 (1992) 221), has its end: a mean of few skewed values is mostly too near
    to their bulk. Hall's other end, nearer than t's, isn't taken: under symmetrical heavy tails it is too near.
    """
    spread = np.sqrt(m2 / (count - 1))
    skewness = np.where(m2 > 0, m3 / count / (m2 / count) ** 1.5, 0.0)
    quantile = special.stdtrit(count - 1, 0.5 + level / 2) / np.sqrt(count)  # Student, faster than stats.t

    def hall(end: Array) -> Array:
        moved = end - skewness / (6 * count)
        root = np.cbrt(1 + skewness * moved)
        return 3 * moved / (root**2 + root + 1)  # (3/γ)(root − 1), which holds for γ = 0 too

    return spread * np.maximum(quantile, hall(quantile)), spread * np.maximum(quantile, -hall(-quantile))


def text(function: Callable[..., str], long_name: str, *arrays: xr.DataArray) -> xr.DataArray:
    """Words from numbers (or other words), element by element; lazy."""
    words: xr.DataArray = xr.apply_ufunc(
        np.vectorize(function, otypes=[object]), *arrays, dask="parallelized", output_dtypes=[object], keep_attrs=False
    )
    return words.assign_attrs(described(long_name))


def log_mean(log_values: xr.DataArray) -> xr.DataArray:
    """log of the mean over realizations of exp(values), which never overflows; −inf counts as zero, NaN is left out."""
    found = _reduced(log_values, _log_sum, _merge_log_sums, ("log_sum", "count"))
    count = found["count"].where(found["count"] > 0)
    return found["log_sum"] - np.log(count)


def _log_sum(block: Array, **_: Any) -> Array:
    """log of the sum of exp(block) along its first axis, and how many values are not NaN: (2, ...)."""
    unknown = np.isnan(block)
    terms = np.where(unknown, -np.inf, block) if unknown.any() else block
    with np.errstate(divide="ignore"):
        return np.stack([np.logaddexp.reduce(terms, axis=0), len(block) - unknown.sum(0, dtype="f8")])


def _merge_log_sums(parts: Array, **_: Any) -> Array:
    stacked = parts.reshape(-1, 2, *parts.shape[1:])
    return np.stack([np.logaddexp.reduce(stacked[:, 0], axis=0), stacked[:, 1].sum(0)])


def living(nu2: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """How many realizations are alive, of those whose ν₂(x) is not NaN, and how many these are."""
    found = central_moments(elementwise(np.sign, nu2))
    return (found["count"] * found["mean"]).round(), found["count"]
