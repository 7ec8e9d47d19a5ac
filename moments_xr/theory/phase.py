"""Order and chaos: fixed points of the mean-field maps, the edge of chaos, depth scales (THEORY 8)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from moments_xr.activations import Activation, Function
from moments_xr.activations import activation as resolve
from moments_xr.errors import RequestError
from moments_xr.theory.evolution import LOG_Q_RANGE
from moments_xr.theory.fixed import LOG_Q, TOLERANCE, fixed_gap, log_fixed_variance
from moments_xr.theory.gaussian_kernels import Array, kernels
from moments_xr.theory.maps import check

LIMIT_TOLERANCE = 1e-6
"""A slope this near to 1 counts as 1 where the variance vanishes or diverges, at the variance that stands for the limit."""

LARGEST_LOG_Q = 25.0
"""Critical points are looked for up to here: beyond, the difference of q and E φ²/E φ'² is rounding."""


SMALLEST = float(np.exp(LOG_Q[0]))
"""Variance that stands for 0 at the start."""


class FixedPoint(NamedTuple):
    """Where variance and correlation go with depth, from inputs of variance 1 and correlation 0; arrays of one shape.

    Where the variance vanishes or diverges, c, χ_c and ξ_c are those of the limit of the c-map there, in which biases
    are negligible: for ReLU, whose c-map is the same at every variance, what THEORY 8 says of (2, 0).
    """

    q: Array
    """q*; 0 where the variance vanishes, inf where it diverges."""
    c: Array
    """c*, to which correlations converge; NaN where each stays what it is (linear without biases)."""
    chi_1: Array
    """(σ_w²/ρ) E φ'² at q*: growth per layer of squared gradients."""
    chi_c: Array
    """Slope of the c-map at c*, < 1 where c* is stable and not critical."""
    slope_q: Array
    """Slope of the variance map at q*, < 1 where q* is stable and not critical."""
    xi_q: Array
    """−1/log slope_q, in layers: inf at slope 1, NaN where the variance diverges."""
    xi_c: Array
    """−1/log χ_c, in layers: inf at slope 1, where correlations converge as a power of depth, or not at all."""
    phase: Array
    """`ordered`, `critical` or `chaotic`, for χ₁ below, at or above 1; `unbounded` instead of chaotic where the variance
    diverges, as of ReLU with σ_w² > 2, whose correlations converge to c* = 1 all the same (Pennington et al. 2017)."""
    variance: Array
    """`converges`, `vanishes` or `diverges`."""


def fixed_point(
    activation: str | Activation | Function,
    weight_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
    keep: ArrayLike = 1.0,
    q: ArrayLike | None = None,
) -> FixedPoint:
    """Fixed point of the variance map and of the c-map, their slopes and depth scales.

    q* is what the variance map leads to from q, c* what the c-map at q* leads to from c = 0. With dropout c* < 1.

    Parameters
    ----------
    activation
        Name, row or function φ, which may grow like |u| at most.
    weight_variance, bias_variance, keep
        σ_w², σ_b² and the keep rate ρ; broadcast.
    q
        Variance of the first pre-activations, from which the map starts; broadcast. σ_w²/ρ + σ_b², of inputs of variance 1,
        if not given. ReLU at (2, 0) keeps every variance, and some activations (GELU, SiLU) have several fixed points.

    Returns
    -------
    FixedPoint
        Arrays of the broadcast shape.

    Raises
    ------
    RequestError
        A variance is negative, `q` isn't positive, or `keep` isn't in (0, 1].

    Examples
    --------
    >>> from moments_xr.theory import fixed_point
    >>> point = fixed_point("tanh", weight_variance=[0.5, 3], bias_variance=0.1)
    >>> point.phase.tolist(), point.q.round(4).tolist(), point.xi_c.round(3).tolist()
    (['ordered', 'chaotic'], [0.1628, 1.5076], [1.07, 8.985])
    """
    weight, bias, keep = check(weight_variance=weight_variance, bias_variance=bias_variance, keep=keep)
    start = np.maximum(weight / keep + bias, SMALLEST) if q is None else np.asarray(q, dtype="f8")
    if not ((start > 0) & (start < np.inf)).all():
        raise RequestError(f"q: {start} is the variance of the first pre-activations; needs to be positive")
    shape, kernel = np.broadcast_shapes(weight.shape, bias.shape, keep.shape, start.shape), kernels(activation)
    weight, bias, keep, start = (np.broadcast_to(array, shape).ravel() for array in (weight, bias, keep, start))
    log_q = log_fixed_variance(kernel, weight / keep, bias, np.log(start))
    finite = np.isfinite(log_q)
    at = np.exp(np.clip(log_q, *LOG_Q_RANGE))
    square = kernel.square(at)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(finite, 1, weight / keep * square / at)
        part = weight / (growth * at)
    chi_1 = weight / keep * kernel.slope_square(at)
    slope_q = weight / keep * kernel.square_derivative(at)
    tolerance = np.where(finite, TOLERANCE, LIMIT_TOLERANCE)
    gap = fixed_gap(kernel, at, part, keep, tolerance)
    chi_c = part * at * kernel.slope_product(at, at, 2 * np.arcsin(np.sqrt(gap / 2)))
    idle = (gap == 0) & (abs(chi_c - 1) < tolerance)
    idle[idle] = abs(part[idle] * kernel.difference(at[idle], at[idle], np.array(np.pi / 2)) / 2 - 1) < tolerance[idle]
    columns = (
        np.exp(log_q),
        np.where(idle | np.isnan(chi_c), np.nan, 1 - gap),
        chi_1,
        chi_c,
        slope_q,
        np.where(log_q == np.inf, np.nan, _depth_scale(slope_q, tolerance)),
        _depth_scale(chi_c, tolerance),
        np.select(
            [abs(chi_1 - 1) < tolerance, chi_1 < 1, log_q == np.inf], ["critical", "ordered", "unbounded"], "chaotic"
        ),
        np.select([finite, log_q < 0], ["converges", "vanishes"], "diverges"),
    )
    return FixedPoint(*(column.reshape(shape) for column in columns))


def phase_diagram(
    activation: str | Activation | Function,
    weight_variances: ArrayLike,
    bias_variances: ArrayLike,
    keep: ArrayLike = 1.0,
) -> FixedPoint:
    """Fixed points over a grid: arrays (weight variance, bias variance).

    Examples
    --------
    >>> from moments_xr.theory import phase_diagram
    >>> phase_diagram("tanh", [0.5, 1.0, 2.0], [0.0, 0.05]).phase.tolist()
    [['ordered', 'ordered'], ['critical', 'ordered'], ['chaotic', 'chaotic']]
    """
    return fixed_point(activation, np.ravel(weight_variances)[:, None], np.ravel(bias_variances), keep)


class CriticalLine(NamedTuple):
    """Edge of chaos at given bias variances: NaN where there is none."""

    weight_variance: Array
    q: Array
    slope_q: Array
    """Slope of the variance map at q*: above 1 the variance doesn't stay there (GELU and SiLU with small biases)."""


def critical_line(activation: str | Activation | Function, bias_variance: ArrayLike) -> CriticalLine:
    """Weight variances, and q*, at which χ₁ = 1 at a fixed point of the variance: the edge of chaos.

    With σ_w² = 1/E φ'² a variance q is fixed when σ_b² = q − E φ²/E φ'²: this is solved for the smallest q. Without
    biases q* = 0, the limit, wherever φ(0) = 0; for ReLU and other homogeneous activations, all of whose variances are
    fixed there, q* = 1 stands for them. NaN where χ₁ = 1 at no fixed variance: ReLU with biases.

    Parameters
    ----------
    activation
        Name, row or function φ.
    bias_variance
        σ_b², of any shape.

    Returns
    -------
    CriticalLine
        σ_w², q* and the slope of the variance map there, of the shape of `bias_variance`.

    Raises
    ------
    RequestError
        A variance is negative.

    Examples
    --------
    >>> from moments_xr.theory import critical_line
    >>> line = critical_line("tanh", [0, 0.05])
    >>> line.weight_variance.round(4).tolist(), line.q.round(4).tolist()
    ([1.0, 1.761], [0.0, 0.57])
    >>> critical_line("relu", [0, 0.05]).weight_variance.tolist()
    [2.0, nan]
    """
    (bias,) = check(bias_variance=bias_variance)
    row, kernel = resolve(activation), kernels(activation)

    def excess(log_q: Any) -> Any:
        q = np.exp(log_q)
        with np.errstate(divide="ignore"):
            return q - kernel.square(q) / kernel.slope_square(q)

    if row.homogeneous:
        log_q = np.where(bias == 0, 0, np.nan)
    else:
        tabulated = LOG_Q[LOG_Q <= LARGEST_LOG_Q]
        table = excess(tabulated)
        log_q = np.where((bias == 0) & (kernel.square(np.exp(LOG_Q_RANGE[0])) < np.exp(LOG_Q[0])), -np.inf, np.nan)
        for index in np.argwhere(np.isnan(log_q)):
            value = bias[*index]
            above = np.flatnonzero((table[1:] >= value) & (table[:-1] < value))[:1]
            for low, high in zip(tabulated[above], tabulated[above + 1], strict=True):
                log_q[*index] = optimize.brentq(lambda x, at=value: excess(x) - at, low, high, xtol=1e-14)
    q = np.exp(np.maximum(log_q, LOG_Q_RANGE[0]))
    with np.errstate(divide="ignore"):
        weight = np.where(np.isnan(q), np.nan, 1 / kernel.slope_square(q))
    return CriticalLine(weight, np.exp(log_q), weight * kernel.square_derivative(q))


def trainable_depth(xi_c: ArrayLike) -> Array:
    """Depth to which such nets were found to train, 6 ξ_c: empirical (Schoenholz et al. 2016), no theorem.

    Examples
    --------
    >>> from moments_xr.theory import trainable_depth
    >>> float(trainable_depth(10.0))
    60.0
    """
    return 6 * np.asarray(xi_c, dtype="f8")


def _depth_scale(slope: Array, tolerance: Array) -> Array:
    """−1/log|slope|; inf at slope 1, NaN beyond."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = -1 / np.log(abs(slope))
    return np.select([abs(slope - 1) < tolerance, abs(slope) < 1], [np.inf, scale], np.nan)
