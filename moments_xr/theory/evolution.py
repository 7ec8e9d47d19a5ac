"""Variances and correlations of pre-activations along depth, at infinite width, to any depth (THEORY 8)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from moments_xr.activations import Activation, Function
from moments_xr.theory.gaussian_kernels import Array, Kernels, kernels
from moments_xr.theory.maps import angle_of, check

LOG_Q_RANGE = (-400.0, 30.0)
"""Kernels are evaluated at log q in this range; beyond, φ counts as homogeneous, E φ² as proportional to q."""


class Evolution(NamedTuple):
    """Two inputs along depth; arrays (depth + 1, ...), the first entry being what was given."""

    log_q_a: Array
    log_q_b: Array
    c: Array
    gap: Array
    """1 − c: where the variances are equal good to about 1e-15 √(1 − c), so that 1e-20 is still told from 0; else 1e-12."""


def propagate_variance(
    activation: str | Activation | Function,
    depth: int,
    weight_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
    keep: ArrayLike = 1.0,
    q: ArrayLike = 1.0,
) -> Array:
    """log q^l of layers 0 … depth: the variance map iterated, without overflow at any depth.

    Parameters
    ----------
    activation
        Name, row or function φ, which may grow like |u| at most.
    depth
        Number of layers.
    weight_variance, bias_variance, keep
        σ_w², σ_b² and the keep rate ρ.
    q
        Variance of the pre-activations that the first map is applied to.

    Returns
    -------
    Array
        (depth + 1, ...), the first entry log q.

    Raises
    ------
    RequestError
        A variance is negative, or `keep` isn't in (0, 1].

    Examples
    --------
    >>> from moments_xr.theory import propagate_variance
    >>> round(float(propagate_variance("relu", 10_000, weight_variance=3)[-1]), 6)  # 10 000 log 1.5
    4054.651081
    """
    q, weight, bias, keep = np.broadcast_arrays(
        *check(q=q, weight_variance=weight_variance, bias_variance=bias_variance, keep=keep)
    )
    kernel = kernels(activation)
    log_q = np.empty((depth + 1, *q.shape))
    with np.errstate(divide="ignore"):
        log_q[0], log_weight, log_bias = np.log(q), np.log(weight / keep), np.log(bias)
    for layer in range(depth):
        log_q[layer + 1] = np.logaddexp(log_weight + _log_square(kernel, log_q[layer]), log_bias)
    return log_q


def propagate_correlation(
    activation: str | Activation | Function,
    depth: int,
    weight_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
    keep: ArrayLike = 1.0,
    q_a: ArrayLike = 1.0,
    q_b: ArrayLike = 1.0,
    c: ArrayLike = 0.0,
) -> Evolution:
    """Variances and correlation of two inputs at layers 0 … depth: both maps iterated.

    Parameters
    ----------
    activation
        Name, row or function φ, which may grow like |u| at most.
    depth
        Number of layers.
    weight_variance, bias_variance, keep
        σ_w², σ_b² and the keep rate ρ of dropout, whose masks for the two inputs are independent.
    q_a, q_b, c
        Variances and correlation of the pre-activations that the first maps are applied to.

    Returns
    -------
    Evolution
        Logs of the variances, c and 1 − c.

    Raises
    ------
    RequestError
        A variance is negative, `keep` isn't in (0, 1], or c isn't in [−1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory import propagate_correlation
    >>> gap = propagate_correlation("relu", 1000, weight_variance=2).gap[-1]
    >>> round(float(gap * 1000**2 / (9 * np.pi**2 / 2)), 2)  # 1 − c ≈ 9π²/(2l²), less a correction of order log l/l
    0.97
    """
    q_a, q_b, weight, bias, keep, angle = np.broadcast_arrays(
        *check(q_a=q_a, q_b=q_b, weight_variance=weight_variance, bias_variance=bias_variance, keep=keep), angle_of(c)
    )
    log_a = propagate_variance(activation, depth, weight, bias, keep, q_a)
    log_b = log_a if np.array_equal(q_a, q_b) else propagate_variance(activation, depth, weight, bias, keep, q_b)
    kernel = kernels(activation)
    gap = np.empty_like(log_a)
    gap[0] = 2 * np.sin(angle / 2) ** 2
    with np.errstate(invalid="ignore"):
        for layer in range(depth):
            gap[layer + 1] = _next_gap(
                kernel, weight, keep, log_a[layer : layer + 2], log_b[layer : layer + 2], gap[layer]
            )
    return Evolution(log_a, log_b, 1 - gap, gap)


def _log_square(kernel: Kernels, log_q: Array) -> Array:
    within = np.clip(log_q, *LOG_Q_RANGE)
    with np.errstate(divide="ignore"):
        return np.log(kernel.square(np.exp(within))) + np.where(np.isfinite(log_q), log_q - within, log_q)


def _next_gap(kernel: Kernels, weight: Array, keep: Array, log_a: Array, log_b: Array, gap: Array) -> Array:
    """1 − c of the next layer, from logs of variances of this layer and the next: √(q_aa q_bb) − q_ab without cancellation.

    (q_aa + q_bb)/2 − q_ab = σ_w² (E(φ_a − φ_b)² + (1/ρ − 1) E(φ_a² + φ_b²))/2, and the arithmetic mean exceeds the
    geometric one by (√q_aa − √q_bb)²/2.
    """
    largest = np.maximum(log_a[0], log_b[0])
    shift = largest - np.clip(largest, *LOG_Q_RANGE)
    (q_a, next_a), (q_b, next_b) = np.exp(log_a - shift), np.exp(log_b - shift)
    apart = kernel.difference(q_a, q_b, 2 * np.arcsin(np.sqrt(gap / 2)))
    dropped = (1 / keep - 1) * (kernel.square(q_a) + kernel.square(q_b)) if (keep < 1).any() else 0.0
    root_a, root_b = np.sqrt(next_a), np.sqrt(next_b)
    return np.clip((weight * (apart + dropped) - (root_a - root_b) ** 2) / (2 * root_a * root_b), 0, 2)
