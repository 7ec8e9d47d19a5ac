"""The Gaussian expectations of an activation that mean-field maps are made of: closed forms, or quadrature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from moments_xr.activations import ACTIVATIONS, LEAK, Activation, Function, activation
from moments_xr.theory.gaussian import expectation, joint_expectation

Array = np.ndarray[Any, np.dtype[np.float64]]


class Kernels(NamedTuple):
    """Expectations of φ for Gaussian u, or for u_a and u_b with correlation cos(angle).

    Functions of the variances q, or q_a and q_b, and the angle in [0, π], which tells correlations near 1 apart.
    """

    square: Callable[[Array], Array]
    """E φ(u)²"""
    square_derivative: Callable[[Array], Array]
    """d/dq E φ(u)² = E[u φ(u) φ'(u)]/q"""
    slope_square: Callable[[Array], Array]
    """E φ'(u)²"""
    product: Callable[[Array, Array, Array], Array]
    """E[φ(u_a) φ(u_b)]"""
    slope_product: Callable[[Array, Array, Array], Array]
    """E[φ'(u_a) φ'(u_b)]"""
    difference: Callable[[Array, Array, Array], Array]
    """E (φ(u_a) − φ(u_b))², good to a part 1e-15/angle of it"""
    radial_slope_square: Callable[[Array], Array]
    """E[u² φ'(u)²]/q: E φ'² weighted towards large u"""


def kernels(of: str | Activation | Function) -> Kernels:
    """Kernels of an activation: closed forms for linear, ReLU, leaky ReLU and erf, quadrature for any other.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory.gaussian_kernels import kernels
    >>> float(kernels("relu").square(np.array(2.0)))
    1.0
    >>> round(float(kernels(lambda y: np.maximum(y, 0)).product(1.0, 1.0, np.pi / 2)), 6)  # 1/2π
    0.159155
    """
    row = activation(of)
    return CLOSED_FORMS[row.name] if ACTIVATIONS.get(row.name) is row and row.name in CLOSED_FORMS else quadrature(row)


def quadrature(of: str | Activation | Function) -> Kernels:
    """Kernels of any activation, by quadrature."""
    row = activation(of)
    phi, slope, kinks = row.phi, row.derivative, row.kinks
    return Kernels(
        lambda q: expectation(lambda u: phi(u) ** 2, q, kinks).value,
        lambda q: expectation(lambda u: u * phi(u) * slope(u), q, kinks).value / q,
        lambda q: expectation(lambda u: slope(u) ** 2, q, kinks).value,
        lambda q_a, q_b, angle: joint_expectation(lambda a, b: phi(a) * phi(b), q_a, q_b, angle, kinks).value,
        lambda q_a, q_b, angle: joint_expectation(lambda a, b: slope(a) * slope(b), q_a, q_b, angle, kinks).value,
        lambda q_a, q_b, angle: joint_expectation(lambda a, b: (phi(a) - phi(b)) ** 2, q_a, q_b, angle, kinks).value,
        lambda q: expectation(lambda u: (u * slope(u)) ** 2, q, kinks).value / q,
    )


def lens(angle: Array) -> Array:
    """sin t − t cos t, 2π E[relu(u_a) relu(−u_b)]/√(q_a q_b) at the angle t; t³/3 near 0, where nothing cancels.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory.gaussian_kernels import lens
    >>> (3 * lens(np.array([1e-9])) / 1e-27).round(12).tolist()
    [1.0]
    """
    angle = np.asarray(angle, dtype="f8")
    square = np.square(angle)
    near = angle * square * (1 / 3 - square * (1 / 30 - square * (1 / 840 - square * (1 / 45360 - square / 3991680))))
    return np.where(angle < 0.3, near, np.sin(angle) - angle * np.cos(angle))


def _piecewise_linear(slope: float) -> Kernels:
    """Slope 1 above zero and `slope` below: arc-cosine kernels (Cho & Saul 2009)."""
    even, odd = (1 + slope**2) / 2, (1 - slope) ** 2 / (2 * np.pi)

    def product(q_a: Array, q_b: Array, angle: Array) -> Array:
        return np.sqrt(q_a) * np.sqrt(q_b) * (even * np.cos(angle) + odd * lens(angle))

    def difference(q_a: Array, q_b: Array, angle: Array) -> Array:
        a, b = np.sqrt(q_a), np.sqrt(q_b)
        return even * (a - b) ** 2 + 2 * a * b * (2 * even * np.sin(angle / 2) ** 2 - odd * lens(angle))

    return Kernels(
        lambda q: even * q,
        lambda q: np.full_like(q, even, dtype="f8"),
        lambda q: np.full_like(q, even, dtype="f8"),
        product,
        lambda q_a, q_b, angle: even - odd * angle + np.zeros(np.broadcast_shapes(np.shape(q_a), np.shape(q_b))),
        difference,
        lambda q: np.full_like(q, even, dtype="f8"),
    )


def _erf() -> Kernels:
    """φ = erf: arcsine kernels (Williams 1997)."""
    return Kernels(
        lambda q: 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)),
        lambda q: 4 / np.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q)),
        lambda q: 4 / np.pi / np.sqrt(1 + 4 * q),
        lambda q_a, q_b, angle: (
            2 / np.pi * np.arcsin(2 * np.sqrt(q_a / (1 + 2 * q_a)) * np.sqrt(q_b / (1 + 2 * q_b)) * np.cos(angle))
        ),
        lambda q_a, q_b, angle: 4 / np.pi / np.sqrt(1 + 2 * (q_a + q_b) + 4 * q_a * q_b * np.sin(angle) ** 2),
        quadrature("erf").difference,
        lambda q: 4 / np.pi / (1 + 4 * q) ** 1.5,
    )


CLOSED_FORMS: dict[str, Kernels] = {
    "linear": _piecewise_linear(1),
    "relu": _piecewise_linear(0),
    "leaky_relu": _piecewise_linear(LEAK),
    "erf": _erf(),
}
