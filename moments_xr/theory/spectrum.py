"""The law of the singular values of a Jacobian J = ∏ D W at infinite width (THEORY 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.free_product import Array, Curve, Law, Table
from moments_xr.theory.jacobian import jacobian_moments, least_relative_variance

LAWS = {"gaussian": 0, "orthogonal": 1}
"""Laws of the weights, and the exponent o of 1 + m that they bring."""

LEFT_OUT = 1e-5
"""A few times this fraction of the singular values, the smallest, is left out of the tabulated density."""

COARSE = 80
"""Points of the first tables, which find where the density is."""


@dataclass(frozen=True)
class Spectrum:
    """The law of the singular values s of a Jacobian at infinite width.

    Attributes
    ----------
    log_value
        (n,) log s, increasing, from the quantile of about 10⁻⁴ to the largest.
    density
        (n,) density of log s (not of s): its integral over log s is 1 − `zero` − `atom`.
    cumulative
        (n,) fraction of the singular values below.
    zero
        Fraction of singular values that are 0.
    atom, log_atom
        Fraction that has one and the same value, and the log of that value (NaN without one).
    log_largest
        Log of the largest singular value.
    """

    log_value: Array
    density: Array
    cumulative: Array
    zero: float
    atom: float
    log_atom: float
    log_largest: float

    def log_quantile(self, fraction: ArrayLike) -> Array:
        """Log of the singular value below which this fraction of them lies; −∞ where it is 0 (or in the 10⁻⁴ left out)."""
        fraction = np.asarray(fraction, dtype="f8")
        if not self.log_value.size:
            return np.where(fraction <= self.zero, -np.inf, self.log_atom)
        inside = np.interp(fraction, self.cumulative, self.log_value, left=-np.inf, right=self.log_largest)
        return np.where(fraction <= self.zero, -np.inf, inside)


def singular_value_density(
    activation: str | Activation | Function,
    depth: int,
    weight_variance: float,
    q: ArrayLike,
    law: str = "gaussian",
    points: int = 400,
) -> Spectrum:
    """The law of the singular values of the Jacobian of `depth` layers, at infinite width.

    Parameters
    ----------
    activation
        φ.
    depth
        Number L of layers.
    weight_variance
        σ_w²: weights have variance σ_w²/N; orthogonal ones are σ_w times an orthogonal matrix.
    q
        Variance of the pre-activations, or those of each layer, (L,). Time is in proportion to the different ones.
    law
        "gaussian" or "orthogonal".
    points
        How many singular values are tabulated.

    Returns
    -------
    Spectrum
        In natural logs. All but 10⁻⁴ of the mass is in it, and its mean and variance are good to 10⁻⁶ or so.

    Raises
    ------
    RequestError
        There is no such law; a number is not positive; or one orthogonal layer is asked for, whose singular values are
        σ_w |φ'(y)| themselves.

    References
    ----------
    THEORY 8; Pennington, Schoenholz, Ganguli 2018, arXiv:1802.09979.

    Examples
    --------
    One Gaussian layer without activation: the quarter circle, which ends at s = 2.

    >>> import numpy as np
    >>> from moments_xr.theory import singular_value_density
    >>> law = singular_value_density("linear", depth=1, weight_variance=1, q=1)
    >>> np.exp(law.log_largest).round(6)
    np.float64(2.0)
    """
    layers = _check(depth, weight_variance, q, law)
    # Layers whose variance has settled share a law.
    distinct, counts = np.unique([float(f"{one:.7g}") for one in layers], return_counts=True)
    laws = [Law(*derivative_law(activation, float(q)), int(n)) for q, n in zip(distinct, counts, strict=True)]
    curve = Curve(laws, LAWS[law])
    log_scale = 0.5 * sum(one.layers * np.log(weight_variance * one.mean) for one in laws)
    zero = max(one.zero for one in laws)
    atom, log_atom = curve.atom()
    if law == "orthogonal" and depth == 1:
        raise RequestError("depth: 1 orthogonal layer has the singular values σ_w |φ'(y)|; needs at least 2 layers")
    log_largest = curve.log_edge()
    empty = np.zeros(0)
    table = Table(empty, empty, empty, empty)
    if zero + atom < 1 - LEFT_OUT:
        low, high = curve.log_low(LEFT_OUT + zero), log_largest
        for _ in range(2):
            table = curve.tabulate(low, high, COARSE)
            inside = np.flatnonzero((table.below > LEFT_OUT) & (table.above > 1e-6))
            low = table.log_lambda[max(inside[0] - 1, 0)]
            high = table.log_lambda[min(inside[-1] + 1, COARSE - 1)] if atom else log_largest
        table = curve.tabulate(low, high, points)
    return Spectrum(
        0.5 * table.log_lambda + log_scale,
        2 * table.density,
        1 - atom - table.above,
        zero,
        atom,
        float(0.5 * log_atom + log_scale),
        float(0.5 * log_largest + log_scale),
    )


class Isometry(NamedTuple):
    """How near a Jacobian is to turning without stretching.

    Perfect: log_mean 0, relative_variance 0, all log values 0, zero 0.
    """

    log_mean: float
    """Log of the mean of s²: growth of squared gradients over all layers."""
    relative_variance: float
    """Of s², over its squared mean."""
    log_largest: float
    """Log of the largest s: the direction stretched most."""
    log_lowest_tenth: float
    """Log of the s that a tenth of the directions is below; −∞ if as many are lost."""
    zero: float
    """Fraction of directions lost."""
    least: float
    """Relative variance that this activation and law can have at this depth, at other variances: 0 where isometry is possible."""


def isometry(
    activation: str | Activation | Function,
    depth: int,
    weight_variance: float,
    q: float,
    law: str = "gaussian",
) -> Isometry:
    """Dynamical isometry in six numbers; `isometric_point` tells how to come near it.

    Parameters, errors
        As in `singular_value_density`.

    Examples
    --------
    >>> from moments_xr.theory import isometry
    >>> relu, tanh = isometry("relu", 50, 2, 1, "orthogonal"), isometry("tanh", 50, 1.02, 0.01, "orthogonal")
    >>> round(relu.relative_variance, 3), round(relu.least, 3), round(tanh.relative_variance, 3), tanh.least
    (50.0, 50.0, 0.036, 0.0)
    """
    moments = jacobian_moments(activation, depth, weight_variance, q, law)
    spectrum = singular_value_density(activation, depth, weight_variance, q, law)
    return Isometry(
        float(moments.log_mean),
        float(moments.relative_variance),
        spectrum.log_largest,
        float(spectrum.log_quantile(0.1)),
        spectrum.zero,
        float(least_relative_variance(activation, depth, law)),
    )


def derivative_law(of: str | Activation | Function, q: float) -> tuple[Array, Array]:
    """The law of d = φ'(√q z)², as values and their probabilities: Gauss–Legendre on panels between kinks; equal values joined.

    Examples
    --------
    >>> from moments_xr.theory.spectrum import derivative_law
    >>> values, probabilities = derivative_law("relu", 1.0)
    >>> values, probabilities.round(12)
    (array([0., 1.]), array([0.5, 0.5]))
    """
    row, scale = activation(of), np.sqrt(q)
    reach = 9.0
    edges = np.concatenate(
        [np.linspace(-reach, reach, 19), np.linspace(-10, 10, 21) / scale, np.divide(row.kinks, scale)]
    )
    edges = np.unique(edges[abs(edges) <= reach].round(13))
    node, weight = np.polynomial.legendre.leggauss(16)
    half = 0.5 * np.diff(edges)[:, None]
    z = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * node).ravel()
    probability = (half * weight).ravel() * np.exp(-0.5 * z * z)
    squares = row.derivative(scale * z) ** 2
    top = squares.max()
    values, which = np.unique((squares / top).round(14), return_inverse=True)
    return top * values, np.bincount(which, probability / probability.sum())


def _check(depth: int, weight_variance: float, q: ArrayLike, law: str) -> Array:
    """q of each layer."""
    if law not in LAWS:
        raise RequestError(f"law: '{law}' is not one of {', '.join(LAWS)}")
    if depth < 1 or depth != int(depth):
        raise RequestError(f"depth: {depth} needs to be a whole number of at least 1")
    if not weight_variance > 0:
        raise RequestError(f"weight_variance: {weight_variance} needs to be positive")
    layers = np.asarray(q, dtype="f8")
    if layers.ndim and layers.shape != (depth,):
        raise RequestError(f"q: shape {layers.shape} needs to be one number, or one for each of {depth} layers")
    if not (layers > 0).all():
        raise RequestError(f"q: {layers.min():g} is the variance of pre-activations; needs to be positive")
    return np.broadcast_to(layers, (int(depth),))
