"""How much nets of finite width differ from each other: variances of log-moments, to first order in 1/N.

For one input y^l has, given the layer before, N independent normal channels of variance q^l, so that log ν₂(x^l) and
log μ₂(dx^l) take independent steps of order 1/√N in each layer, and the maps of variance carry earlier steps on. For ReLU the
steps' variance is 5/N (THEORY 5, Theorem 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.evolution import propagate_variance
from moments_xr.theory.gaussian import expectation
from moments_xr.theory.gaussian_kernels import Array, kernels
from moments_xr.theory.maps import check

LOG_Q_RANGE = (-30.0, 30.0)
"""Variances beyond are taken for these: steps depend on q no more."""

STEP = 1e-4
"""Of the logarithm of q, for numerical derivatives."""


class LogVariance(NamedTuple):
    """Variances over nets of log-moments after each layer; arrays (layer,)."""

    nu2_signal: Array
    mu2_noise: Array


def log_moment_variance(
    of: str | Activation | Function,
    depth: int,
    width: int,
    weight_variance: float,
    bias_variance: float = 0.0,
    q: float | None = None,
    keep: float = 1.0,
) -> LogVariance:
    """Variance over vanilla nets of log ν₂(x^l) and log μ₂(dx^l) of one input, to first order in l/N.

    Parameters
    ----------
    of
        Name, row or function φ.
    depth, width
        L layers of N channels, independent normal weights.
    weight_variance, bias_variance
        σ_w² and σ_b².
    q
        Variance of the first pre-activations; σ_w²/ρ + σ_b² if not given.
    keep
        Rate ρ at which dropout keeps activations; what it drops after a layer is seen from the next on.

    Returns
    -------
    LogVariance
        Of layers 1 … L.

    Raises
    ------
    RequestError
        A variance is negative, `keep` isn't in (0, 1], or depth or width isn't at least 1.

    Examples
    --------
    >>> from moments_xr.theory import log_moment_variance
    >>> log_moment_variance("relu", 100, 500, 2.0).nu2_signal[-1].round(6)  # 5 l/N
    np.float64(1.0)
    """
    row = activation(of)
    check(weight_variance=weight_variance, bias_variance=bias_variance, keep=keep)
    if depth < 1 or width < 1:
        raise RequestError(f"depth {depth}, width {width}: both need to be at least 1")
    start = weight_variance / keep + bias_variance if q is None else q
    log_q = propagate_variance(row, depth - 1, weight_variance, bias_variance, keep, start)
    at = np.exp(np.clip(log_q, *LOG_Q_RANGE))
    square, slope = kernels(row).square, kernels(row).slope_square
    fourth = expectation(lambda u: row.phi(u) ** 4, at, row.kinks).value / square(at) ** 2
    steep = expectation(lambda u: row.derivative(u) ** 4, at, row.kinks).value / slope(at) ** 2
    both = expectation(lambda u: (row.phi(u) * row.derivative(u)) ** 2, at, row.kinks).value / (square(at) * slope(at))
    carried, bent = (_log_slope(kernel, at) for kernel in (square, slope))
    share = 1 - bias_variance * np.exp(-log_q)  # of q that comes from the layer before
    share[0] = 0.0
    fourths = np.array([[fourth, both], [both, 3 * steep]])
    covariance, out = np.zeros((2, 2)), np.empty((depth, 2))
    for layer in range(depth):
        onward = np.array([[carried[layer] * share[layer], 0.0], [bent[layer] * share[layer], 1.0]])
        carried_on = onward @ covariance @ onward.T
        out[layer] = (carried_on + (fourths[..., layer] - 1) / width).diagonal()
        covariance = carried_on + (fourths[..., layer] / keep - 1) / width
    return LogVariance(*out.T)


def _log_slope(kernel: Function, q: Array) -> Array:
    """d log kernel / d log q."""
    up, down = (np.log(kernel(q * np.exp(sign * STEP))) for sign in (1, -1))
    return (up - down) / (2 * STEP)
