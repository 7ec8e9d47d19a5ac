"""Depth scale ξ_c over which correlations of samples reach their fixed point, from measured correlations (THEORY 8)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import optimize, stats

from moments_xr.activations import ACTIVATIONS
from moments_xr.analysis.growth import by_depth
from moments_xr.analysis.network import told
from moments_xr.analysis.realizations import LEVEL, curves, fitted, mean_interval, text
from moments_xr.analysis.sensitivity import select_site
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError, RequestError

FURTHER_ORDERS = 0.025
"""What further orders of the law may change the rate 1/ξ by, relative to it: in quadrature in its interval."""

LEFT = (1 / 8, 1 / 4, 1 / 2)
"""The fit begins where such a share of the way to the deepest layer's correlation is left, the first that is precise."""

PRECISE = 0.05
"""Half-width of a precise fit's interval, relative to the rate 1/ξ."""

LAYERS, REALIZATIONS = 8, 8
"""Fewest layers and realizations that are fitted."""

SCALES = 3.0
"""Fewest depth scales that the fitted layers must span."""

TOLD = float(stats.chi2.ppf(LEVEL, 1))
"""Sum of squared residuals by which a fitted c* needs to be better than c* = 1."""

SEEN = 3.0
"""Standard errors by which the correlation must change over the depth."""

FOLLOWED = 3
"""Fewest layers whose distance from c* is seen beyond its error."""

GROUPS = 20
"""Most groups of realizations that are left out in turn."""

ROUNDING = 1e-7
"""Of correlations near 1, which cubes hold in single precision."""

STATUS = {
    0: "ok",
    1: f"fewer than {REALIZATIONS} realizations",
    2: f"fewer than {LAYERS} layers",
    3: "no decay seen: correlations begin at their fixed point",
    4: "too shallow: the layers span fewer than three depth scales",
    5: "no exponential decay is told from a slower one: near the edge of chaos, or too few layers or realizations",
    6: f"too fast: fewer than {FOLLOWED} measured layers are told from the limit",
}
"""What a depth scale rests on, or why there is none."""

OUTPUTS = {
    "xi": "depth scale of correlations, in layers",
    "xi_low": "lower bound of the 95 % interval of the depth scale",
    "xi_high": "upper bound of the 95 % interval of the depth scale",
    "limit": "correlation that the fit goes to",
    "limit_low": "lower bound of the 95 % interval of the limit",
    "limit_high": "upper bound of the 95 % interval of the limit",
    "correlation": "correlation at the deepest layer, mean over realizations and pairs",
    "correlation_low": "lower bound of the 95 % interval of the correlation",
    "correlation_high": "upper bound of the 95 % interval of the correlation",
    "code": "code of the status",
}

SYMBOLS = {"xi": "ξ_c", "limit": "c*", "correlation": "c_ab"}

Array = NDArray[Any]


@along_sweep
def fit_depth_scale(ds: xr.Dataset, site: str = "conv") -> xr.Dataset:
    """Depth scale ξ_c of |c^l − c*| ∝ e^{−l/ξ_c}, fitted to the measured correlations of pairs; theory isn't asked.

    Far from its fixed point a correlation moves faster than that, so the law has its next orders: from one measured layer
    to the next the distance d = c* − c becomes χ d/(1 + κ d), with χ = e^{−1/ξ_c}, and where φ' jumps at a kink (ReLU) and
    c* = 1, χ d/(1 + κ d + κ' √d). At χ = 1 these are the power laws 1/l and 1/l² of the edge of chaos. Without dropout,
    samples that are alike stay so: c* = 1, unless a fitted c* is better beyond chance, or at 1 distances grow. χ and κ are fitted to
    the mean over realizations and pairs, each step weighted by its scatter over realizations, from the layer on where
    ⅛ of the way is left or, as long as the interval isn't within 5 % of 1/ξ_c or the layers span fewer than three ξ_c,
    ¼ or ½ of it. Intervals come from leaving groups of realizations out in turn and, in quadrature, 2.5 % of 1/ξ_c for
    further orders: curves of infinitely wide nets of the shipped recipes are fitted within 4.2 %, nearly all within 2.5 %. In drawn nets
    95 % of the intervals hold theory's ξ_c from 192 realizations, and 93 % from 24.

    Parameters
    ----------
    ds
        A cube with `measure.pairs` (or the DataTree of a sweep), or a selection of it, of evenly spaced layers.
    site
        Of the correlations; `conv` has pre-activations, which THEORY 8 is of.

    Returns
    -------
    Scalars, in layers or without unit, with 95 % intervals `_low`, `_high`:

    * `xi`, the depth scale ξ_c; `status`, `ok` or why it is NaN. Where layers are too few to bound it, `xi_high` is
      infinite and `xi_low` still bounds it from below, by the number of fitted layers at most.
    * `limit`, c*, NaN with ξ_c; exactly 1, and its interval with it, where it isn't told from 1.
    * `correlation` at the deepest layer, and its t interval.

    Realizations that are undefined at any layer (dead nets) are left out.

    Raises
    ------
    MissingError
        The cube has no correlations of pairs, no layer, or not this site.
    RequestError
        Its layers aren't evenly spaced.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.analysis.depth_scale import fit_depth_scale
    >>> changes = {"network.architecture": "vanilla", "network.activation": "tanh", "network.bias_variance": 0.3}
    >>> changes |= {"network.weights": {"law": "gaussian", "variance": 0.8}, "measure.pairs": 4}
    >>> found = fit_depth_scale(mx.run(mx.recipe("quickstart", changes), progress=False))
    >>> bool(found.xi_low < 1.31 < found.xi_high)  # theory: 1.31
    True
    """
    if "pair_correlation" not in ds:
        raise MissingError("the cube has no correlations of pairs: measure them with measure.pairs")
    values = (
        select_site(by_depth(ds), site)["pair_correlation"].astype("f8").mean("pair").drop_vars("site", errors="ignore")
    )
    spacing = np.unique(np.diff(values["layer"].values))
    if len(spacing) > 1:
        raise RequestError(
            "a depth scale is fitted to evenly spaced layers, and these aren't: select layers in equal steps"
        )
    jumps, alike = _slope_jumps(told(ds, "activation")), told(ds, "dropout", 0) == 0
    fit = partial(depth_scale, spacing=int(spacing[0]) if len(spacing) else 1, jumps=jumps, alike=alike)
    rows = curves(values).drop_attrs()
    signature = f"(r,l)->{','.join(['()'] * len(OUTPUTS))}"
    found = fitted(np.vectorize(fit, signature=signature), OUTPUTS, rows, core_dims=[["realization", "layer"]])
    status = text(lambda code: STATUS[int(code)], "what the depth scale rests on", found["code"])
    for name in found.data_vars:
        if str(name).startswith("xi"):
            found[name].attrs["units"] = "layer"
    for name, symbol in SYMBOLS.items():
        found[name].attrs["symbol"] = symbol
    return found.drop_vars("code").assign(status=status)


def _slope_jumps(activation: str | None) -> bool:
    """Whether φ' jumps anywhere."""
    row = ACTIVATIONS.get(activation or "")
    if row is None or not row.kinks:
        return False
    below, above = (row.derivative(np.asarray(row.kinks) + side) for side in (-1e-9, 1e-9))
    return not np.allclose(below, above)


def depth_scale(rows: Array, spacing: int = 1, jumps: bool = False, alike: bool = True) -> tuple[float, ...]:
    """Values of `OUTPUTS` from independent curves of correlations.

    Parameters
    ----------
    rows
        Correlations (realization, layer); those that are NaN are left out.
    spacing
        Layers from one to the next.
    jumps
        Whether φ' jumps.
    alike
        Whether samples that are alike stay so.
    """
    rows = rows[np.isfinite(rows).all(-1)]
    nothing = [np.nan] * 6
    if not rows.size:
        return (*nothing, *[np.nan] * 3, 1 if not len(rows) else 2)
    correlation = [float(each) for each in mean_interval(rows[:, -1])]
    if len(rows) < REALIZATIONS or rows.shape[1] < LAYERS:
        return (*nothing, *correlation, 1 if len(rows) < REALIZATIONS else 2)
    mean, way = rows.mean(0), rows[:, 0] - rows[:, -1]
    if abs(way.mean()) < SEEN * way.std(ddof=1) / np.sqrt(len(way)) + ROUNDING:
        return (*nothing, *correlation, 3)
    for left in LEFT:
        first = min(int(np.argmax(abs(mean - mean[-1]) <= left * abs(mean[0] - mean[-1]))), len(mean) - LAYERS)
        limit, half_limit, rate, half_rate = _estimate(rows[:, first:], jumps, alike)
        scales = (len(mean) - 1 - first) * rate
        distances = abs(limit - mean[first:])
        followed = int((distances > 2 * rows[:, first:].std(0, ddof=1) / np.sqrt(len(rows)) + 10 * ROUNDING).sum())
        if half_rate <= PRECISE * rate and scales >= SCALES and followed >= FOLLOWED:
            break
    if followed < FOLLOWED:
        return (*nothing, *correlation, 6)
    rate, half_rate = rate / spacing, np.hypot(half_rate, FURTHER_ORDERS * rate) / spacing
    low = 1 / (rate + half_rate) if rate + half_rate > 0 else np.inf
    if rate <= half_rate or scales < SCALES:
        low = min(low, float(spacing * (len(mean) - 1 - first)))
        return (np.nan, low, np.inf, *nothing[3:], *correlation, 5 if rate <= half_rate else 4)
    interval = (limit, max(limit - half_limit, -1.0), min(limit + half_limit, 1.0))
    return (1 / rate, low, 1 / (rate - half_rate), *interval, *correlation, 0)


def _estimate(rows: Array, jumps: bool, alike: bool) -> tuple[float, float, float, float]:
    """c* and the rate 1/ξ per step, each with half its interval."""
    error = np.sqrt(np.diff(rows, axis=1).var(0, ddof=1) / len(rows) + ROUNDING**2)
    mean, groups = rows.mean(0), np.array_split(np.arange(len(rows)), min(GROUPS, len(rows)))
    free, to_one = partial(_fit, error=error), partial(_fit, error=error, limit=1.0, jumps=jumps)

    def estimate(fit: Callable[..., tuple[Array, float]], best: Array) -> tuple[float, float, float, float]:
        left_out = np.array([fit(np.delete(rows, group, axis=0).mean(0), start=best)[0] for group in groups])
        return best[0], _half_interval(left_out[:, 0]), best[1], _half_interval(left_out[:, 1])

    best, cost = free(mean)
    if alike:
        best_to_one, cost_to_one = to_one(mean)
        if cost_to_one < cost + TOLD:
            found = estimate(to_one, best_to_one)
            if found[2] + found[3] > 0:
                return found
    return estimate(free, best)


def _fit(
    mean: Array, error: Array, limit: float | None = None, jumps: bool = False, start: Array | None = None
) -> tuple[Array, float]:
    """c*, the rate and the corrections, of a law to this limit or to a fitted one; and the sum of squared residuals."""

    def residuals(parameters: Array) -> Array:
        to, rate, bend, *root = (limit, *parameters) if limit is not None else parameters
        distance = to - mean[:-1]
        bending = 1 + bend * distance + sum(root) * np.sqrt(abs(distance))
        return np.asarray((mean[1:] - to + np.exp(-rate) * distance / bending) / error)

    chosen = slice(int(limit is not None), 3 + jumps)
    bounds = np.array([(-1.0, 1.0), (-0.4, 7.0), (-0.4, 50.0), (0.0, 50.0)])[chosen]
    scale = np.array([max(float(error[-1]), ROUNDING), 0.1, 1.0, 1.0])[chosen]
    starts = [np.array([mean[-1], rate, 0.1, 0.1]) for rate in (0.7, 0.1, 0.02)] if start is None else [start]
    starts = [np.clip(at[chosen], *bounds.T) for at in starts]
    fits = [optimize.least_squares(residuals, at, bounds=bounds.T, x_scale=scale) for at in starts]
    best = min(fits, key=lambda fit: fit.cost)
    parameters = best.x if limit is None else np.array([limit, *best.x])
    return parameters, 2 * float(best.cost)


def _half_interval(left_out: Array) -> float:
    """Half the jackknife's interval, from estimates with one group of realizations left out each."""
    count = len(left_out)
    spread = np.sqrt((count - 1) * left_out.var())
    return float(stats.t.ppf(0.5 + LEVEL / 2, count - 1) * spread)
