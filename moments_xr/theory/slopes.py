"""How much the slopes φ' of two pre-activations differ: E (φ'(u_a) − φ'(u_b))², without cancellation where they are alike.

From Hermite series, as `hermite.distance` has it of φ. Where φ' jumps its series ends too slowly; steps have closed forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from moments_xr.activations import Activation, activation
from moments_xr.theory.gaussian_kernels import Array, kernels
from moments_xr.theory.hermite import ORDERS, coefficients, distance, series

SLOPE = 1e-6
"""Distance from a kink at which φ' is taken on either side of it."""

SMALLEST_JUMP = 1e-4
"""Jumps of φ' below are the change of a smooth φ' over twice that distance."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)


def slope_distance(row: Activation) -> Callable[[Array, Array], Array]:
    """q (sample,) and 1 − c (sample, sample) -> E (φ'(u_a) − φ'(u_b))² of all pairs (sample, sample).

    In closed form if φ is homogeneous. Of a smooth φ' good to 1e-4 of it (ELU, whose φ' has a kink: to 2 %); with jumps (SELU),
    what is left out of the series is their product with the rest of φ' beyond `ORDERS`, below 0.6 %.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.activations import activation
    >>> from moments_xr.theory.slopes import slope_distance
    >>> gap = np.array([[0.0, 1.0], [1.0, 0.0]])  # 1 − c
    >>> float(slope_distance(activation("relu"))(np.ones(2), gap)[0, 1].round(12))  # the chance of two signs
    0.5
    """
    jumps = [(kink, jump) for kink in row.kinks if abs(jump := _jump(row, kink)) > SMALLEST_JUMP]
    if row.homogeneous:
        factor = sum(jump**2 for _, jump in jumps) / np.pi
        return lambda q, gap: factor * 2 * np.arcsin(np.sqrt(gap / 2)) + 0 * q
    if not jumps:
        slope = replace(activation(row.derivative), kinks=row.kinks)
        return lambda q, gap: distance(slope, kernels(slope), q, gap)
    return lambda q, gap: series(coefficients(row.derivative, q, ORDERS, row.kinks), gap) + _beyond(jumps, q, gap)


def _jump(row: Activation, kink: float) -> float:
    below, above = row.derivative(np.array([kink - SLOPE, kink + SLOPE]))
    return float(above - below)


def _beyond(jumps: Sequence[tuple[float, float]], q: Array, gap: Array) -> Array:
    """What the series of a sum of steps leaves out: E (Δ Σ jump 1{u > kink})² less its own terms up to `ORDERS`."""
    heights = [kink / np.sqrt(q) for kink, _ in jumps]
    alpha = np.sum([jump * _step_coefficients(h) for (_, jump), h in zip(jumps, heights, strict=True)], axis=0)
    whole = np.zeros_like(gap)
    for (_, jump), h in zip(jumps, heights, strict=True):
        for (_, other), k in zip(jumps, heights, strict=True):
            whole += jump * other * _step_product(h, k, gap)
    return whole - series(alpha, gap)


def _step_coefficients(height: Array) -> Array:
    """E[1{z > h} h_k(z)]: (sample,) -> (sample, order 0 … `ORDERS`)."""
    alpha = np.empty((height.size, ORDERS + 1))
    alpha[:, 0] = special.ndtr(-height)
    before, now = np.zeros_like(height), np.exp(-0.5 * height**2) / np.sqrt(2 * np.pi)
    for k in range(1, ORDERS + 1):
        alpha[:, k] = now / np.sqrt(k)
        before, now = now, (height * now - np.sqrt(k - 1) * before) / np.sqrt(k)
    return alpha


def _step_product(height: Array, other: Array, gap: Array) -> Array:
    """E[Δ1{z > h} Δ1{z > k}], Δ the difference between two samples, of heights h_a, h_b and k_a, k_b, for all pairs.

    With c = 1, chances of one z; from there to c by ∂P[z_a > h, z_b > k]/∂c, the density at (h, k) (Plackett 1954).
    """
    own = np.maximum(height, other)
    alike = special.ndtr(-own)[:, None] + special.ndtr(-own)
    for h, k in ((height[:, None], other), (other[:, None], height)):
        alike = alike - special.ndtr(-np.maximum(h, k)) + _between(h, k, gap)
    return alike


def _between(h: Array, k: Array, gap: Array) -> Array:
    """(1/2π) ∫ exp(−(h² − 2 h k cos t + k²)/(2 sin² t)) dt from 0 to arccos c."""
    half = np.arcsin(np.sqrt(gap / 2))
    t = half[..., None] * (1 + NODES)
    # h² − 2 h k cos t + k² = (h − k)² + 4 h k sin²(t/2)
    square = np.square(h - k)[..., None] + 4 * (h * k)[..., None] * np.square(np.sin(t / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.where(t > 0, np.exp(-0.5 * square / np.square(np.sin(t))), 0.0)
    return density @ WEIGHTS * half / (2 * np.pi)
