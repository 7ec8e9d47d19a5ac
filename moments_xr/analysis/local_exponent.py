"""The local exponent p of growth, d log χ/dl ∝ l^−p, from independent rows along the depth: plain numpy (THEORY 6).

A row is the curve of log χ of one realization, a random walk about its law. What is linear in a row has an interval from
rows, whatever the errors along the depth. So p is sought by a contrast D_p, a weighted sum of a row's increments that is
zero on average where the local exponent is p, positive where it is below and negative where it is above.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moments_xr.analysis.realizations import mean_interval

Array = NDArray[Any]

FEWEST_ROWS = 8
"""Realizations below which p has no interval."""

TRIED = 0.5 + 0.5 * np.sinh(np.linspace(-2.3, 3.0, 61))
"""Exponents, from −2 to 5.5, between which p and its bounds are interpolated; nearest from 0 to 1, where they are right to 0.001."""

SURELY = 0.999
"""Confidence with which a curve leaves a law."""


class Exponent(NamedTuple):
    """A local exponent and its interval; NaN where there is none among those tried."""

    value: float
    low: float
    high: float


def growth(layers: Array, p: Array) -> Array:
    """Growth from each layer to the next at the rate l^−p: (step, p)."""
    q = np.where(np.abs(1 - p) < 1e-9, 1e-9, 1 - p)
    depth = np.log(layers)[:, None]
    return np.asarray(np.exp(q * depth[:-1]) * np.expm1(q * np.diff(depth, axis=0)) / q)


@lru_cache(maxsize=64)
def contrasts(layers: tuple[float, ...], corrections: int) -> Array:
    """Weights of increments that make D_p, for each exponent tried: (step, p).

    They are the most powerful against neighbouring p where errors are a steady random walk: log depth times the growth of
    l^−p, without its part along this growth and, with `corrections`, along those of l^(−p−1), l^(−p−2), ….
    """
    depths = np.array(layers)
    scale = np.sqrt(np.diff(depths))[:, None]  # of a random walk's errors
    known: list[Array] = []

    def new(values: Array) -> Array:
        for direction in known:
            values = values - direction * (direction * values).sum(0)
        return np.asarray(values / np.sqrt((values * values).sum(0)))

    for order in range(corrections + 1):
        known.append(new(growth(depths, TRIED + order) / scale))
    middle = 0.5 * np.log(depths[1:] * depths[:-1])[:, None]
    return new(growth(depths, TRIED) * middle / scale) / scale


def local_exponent(rows: Array, layers: Array, corrections: int = 0) -> Exponent:
    """The local exponent of rows (realization, layer), and its interval: p for which D_p may be zero.

    With `corrections`, of a rate l^−p (1 + a/l + …), which an offset (l + c)^−p or an initial transient makes.
    """
    if len(layers) < corrections + 3:
        return Exponent(np.nan, np.nan, np.nan)
    mean, below, above = mean_interval(np.diff(rows, axis=1) @ contrasts(tuple(layers.tolist()), corrections))
    value = _root(mean)
    return Exponent(value, _root(above), _root(below)) if len(rows) >= FEWEST_ROWS else Exponent(value, np.nan, np.nan)


def _root(values: Array) -> float:
    """The exponent at which a function of those tried rises through zero: the last, since with corrections p − 1 is one too."""
    at = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if not len(at):
        return np.nan
    k = at[-1]
    return float(TRIED[k] + (TRIED[k + 1] - TRIED[k]) * values[k] / (values[k] - values[k + 1]))


def departure(rows: Array, layers: Array, p: float) -> float:
    """How far rows surely leave, at any layer, their best fit of growth at the rate l^−p, as a share of their growth."""
    grown = rows[:, -1].mean() - rows[:, 0].mean()
    if not (np.isfinite(p) and grown > 0):
        return np.inf
    law = np.append(0.0, growth(layers, np.array([p])).cumsum())
    basis, _ = np.linalg.qr(np.stack([np.ones_like(law), law], axis=1))
    mean, low, high = mean_interval(rows - rows @ basis @ basis.T, level=SURELY)
    return float(np.max(np.abs(mean), where=(low > 0) | (high < 0), initial=0.0) / grown)
