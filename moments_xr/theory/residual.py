"""Mean field of residual nets, x^l = x^{l−1} + V φ(W x^{l−1} + b) + a (Yang & Schoenholz 2017, arXiv:1712.08969; THEORY 8).

W, V have variances σ_w²/N, σ_v²/N and b, a have σ_b², σ_a². With p = E x² and u = W x + b of variance q = σ_w² p + σ_b²,

    p^l = p^{l−1} + σ_v² E φ(u)² + σ_a²,        gradients and noise, squared: × (1 + σ_v² σ_w² E φ'(u)²) a layer,

so that nothing is forgotten: there is no fixed point to fall to. All in logarithms, for any depth.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from moments_xr.activations import Activation, Function
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian_kernels import kernels
from moments_xr.theory.maps import angle_of, check

Array = np.ndarray[Any, np.dtype[np.float64]]

FAR = 1e40
"""Variance from which on φ(u) is as good as its asymptotes: proportional to u, or bounded."""


class ResidualGrowth(NamedTuple):
    """Logs of p = E x² and of the factor by which squared noise (or gradient) has grown: (layer, …), layers 0 to L."""

    log_p: Array
    log_gain: Array


class ResidualCorrelation(NamedTuple):
    """Correlation c of two inputs, and log of the normalised sensitivity χ: (layer, …), layers 0 to L."""

    c: Array
    log_chi: Array


def residual_growth(
    activation: str | Activation | Function,
    depth: int,
    weight_variance: ArrayLike,
    output_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
    output_bias_variance: ArrayLike = 0.0,
    p: ArrayLike = 1.0,
) -> ResidualGrowth:
    """How signal and noise grow with depth.

    Parameters
    ----------
    activation
        φ.
    depth
        Number L of residual units.
    weight_variance, bias_variance
        σ_w² and σ_b² of the inner layer.
    output_variance, output_bias_variance
        σ_v² and σ_a² of the outer layer, that adds to the skip.
    p
        Mean square of the input x⁰.

    Returns
    -------
    ResidualGrowth
        Layers first, then the broadcast shape of the variances and p.

    Raises
    ------
    RequestError
        A variance is negative, or p or σ_w² isn't positive.

    Examples
    --------
    >>> from moments_xr.theory import residual_growth
    >>> relu = residual_growth("relu", 1000, weight_variance=2, output_variance=1)
    >>> relu.log_p[-1].round(3), relu.log_gain[-1].round(3)  # 1000 log 2
    (np.float64(693.147), np.float64(693.147))
    """
    log_p, log_gain, _ = _propagate(
        activation, depth, weight_variance, output_variance, bias_variance, output_bias_variance, p, None
    )
    return ResidualGrowth(log_p, log_gain)


def residual_correlation(
    activation: str | Activation | Function,
    depth: int,
    weight_variance: ArrayLike,
    output_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
    output_bias_variance: ArrayLike = 0.0,
    p: ArrayLike = 1.0,
    c: ArrayLike = 0.0,
) -> ResidualCorrelation:
    """How inputs of correlation c approach each other, and the normalised sensitivity χ (THEORY 3) that follows.

    With all inputs of the same p and of pairwise correlation c, the signal's variance over them is p(1 − c), so
    (χ^l)² is the gain of the noise over that of p(1 − c).

    Parameters
    ----------
    activation, depth, weight_variance, output_variance, bias_variance, output_bias_variance, p
        As in `residual_growth`.
    c
        Correlation of the inputs x⁰, below 1.

    Returns
    -------
    ResidualCorrelation
        Layers first, then the broadcast shape of the variances, p and c.

    Examples
    --------
    >>> from moments_xr.theory import residual_correlation
    >>> residual_correlation("relu", 100, weight_variance=2, output_variance=1).c[[0, 10, 100]].round(3)
    array([0.   , 0.708, 0.987])
    """
    log_p, log_gain, distance = _propagate(
        activation, depth, weight_variance, output_variance, bias_variance, output_bias_variance, p, c
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        log_variance = log_p + np.log(distance)
    return ResidualCorrelation(1 - distance / 2, 0.5 * (log_gain - log_variance + log_variance[:1]))


def _propagate(
    of: str | Activation | Function,
    depth: int,
    weight_variance: ArrayLike,
    output_variance: ArrayLike,
    bias_variance: ArrayLike,
    output_bias_variance: ArrayLike,
    p: ArrayLike,
    c: ArrayLike | None,
) -> tuple[Array, Array, Array]:
    """log p, log gain and E(x_a − x_b)²/p = 2(1 − c), at layers 0 to L."""
    inner, outer, bias, output_bias, start = np.broadcast_arrays(
        *check(
            weight_variance=weight_variance,
            output_variance=output_variance,
            bias_variance=bias_variance,
            output_bias_variance=output_bias_variance,
            p=p,
        )
    )
    if not ((inner > 0) & (start > 0)).all():
        raise RequestError("weight_variance and p need to be positive")
    if depth < 0 or depth != int(depth):
        raise RequestError(f"depth: {depth} needs to be a whole number of units")
    kernel = kernels(of)
    angle = angle_of(1.0 if c is None else c) + 0 * inner
    log_p, log_gain, distance = (np.empty((depth + 1, *angle.shape)) for _ in range(3))
    log_p[0], log_gain[0], distance[0] = np.log(start), 0.0, 4 * np.sin(angle / 2) ** 2
    for layer in range(depth):
        inverse = np.exp(-log_p[layer])
        q_over_p = inner + bias * inverse
        q = np.exp(np.minimum(log_p[layer] + np.log(q_over_p), np.log(FAR)))
        growth = 1 + outer * q_over_p * kernel.square(q) / q + output_bias * inverse
        log_p[layer + 1] = log_p[layer] + np.log(growth)
        log_gain[layer + 1] = log_gain[layer] + np.log1p(outer * inner * kernel.slope_square(q))
        if c is not None:
            apart = 2 * np.arcsin(np.sqrt(np.minimum(inner * distance[layer] / (4 * q_over_p), 1)))
            added = outer * q_over_p * kernel.difference(q, q, apart) / q
            distance[layer + 1] = (distance[layer] + added) / growth
    return log_p, log_gain, distance
