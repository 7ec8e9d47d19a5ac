"""Series of activations in normalised Hermite polynomials: E[φ(u_a) φ(u_b)] = Σ_k α_k(q_a) α_k(q_b) c^k (Mehler)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moments_xr.activations import Activation, Function
from moments_xr.theory.gaussian import nodes
from moments_xr.theory.gaussian_kernels import Array, Kernels

ORDERS = 96
"""Terms of the series."""

FARTHEST = 1e8
"""Highest order that the rest of a series is taken to be of: where nothing is left but rounding, it means nothing."""


def coefficients(phi: Function, q: Array, orders: int = ORDERS, kinks: Sequence[float] = ()) -> Array:
    """α_k = E[φ(√q z) h_k(z)], h_k of unit variance: q (sample,) -> (sample, order 0 … orders).

    Good to about 1e-9 of E|φ|: more than nine standard deviations out is left out.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory.hermite import coefficients
    >>> (coefficients(lambda u: u**2, np.array([1.0]), 3).round(6) + 0.0).tolist()  # 1 + √2 h₂
    [[1.0, 0.0, 1.414214, 0.0]]
    """
    z, weights, row = nodes(q, kinks)
    weighted = phi(np.sqrt(q)[row, None] * z) * weights
    before, now = np.zeros_like(z), np.ones_like(z)
    alpha = np.empty((q.size, orders + 1))
    for k in range(orders + 1):
        alpha[:, k] = np.bincount(row, (weighted * now).sum(1), q.size)
        before, now = now, (z * now - np.sqrt(k) * before) / np.sqrt(k + 1)
    return alpha


def distance(row: Activation, kernel: Kernels, q: Array, gap: Array) -> Array:
    """E (φ(u_a) − φ(u_b))² of all pairs: q (sample,), 1 − c (sample, sample) -> (sample, sample).

    Σ_k (α_k − β_k)² + 2 α_k β_k (1 − c^k). The terms beyond `ORDERS` have together the rest of E φ² and that of q E φ'² =
    Σ_k k α_k²; they are taken to be of one order and of one sign, which for equal variances is exact to first order in
    1 − c, and off by less than 4 √(rest_a rest_b) everywhere (for hard tanh or very large variances, 1e-3 of E φ²).
    """
    alpha = coefficients(row.phi, q, ORDERS, row.kinks)
    rest = np.maximum(kernel.square(q) - np.square(alpha).sum(1), 0)
    sloped = np.maximum(q * kernel.slope_square(q) - np.square(alpha) @ np.arange(ORDERS + 1), 0)
    tail, steep = np.sqrt(rest), np.sqrt(sloped)
    both = tail[:, None] * tail
    order = np.divide(steep[:, None] * steep, both, out=np.zeros_like(both), where=both > 0).clip(ORDERS + 1, FARTHEST)
    with np.errstate(divide="ignore"):
        beyond = np.square(tail[:, None] - tail) - 2 * both * np.expm1(order * np.log1p(-np.minimum(gap, 1)))
    return series(alpha, gap) + beyond


def series(alpha: Array, gap: Array) -> Array:
    """Σ_k (α_k − β_k)² + 2 α_k β_k (1 − c^k) of all pairs: α (sample, order), 1 − c (sample, sample)."""
    total = np.zeros_like(gap)
    power, decay = np.ones_like(gap), np.zeros_like(gap)  # c^k and 1 − c^k, which is the sum of its steps
    for one in alpha.T:
        total += np.square(one[:, None] - one) + 2 * one[:, None] * one * decay
        decay = decay + power * gap
        power = power * (1 - gap)
    return total
