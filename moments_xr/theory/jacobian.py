"""Dynamical isometry: how far the singular values of a Jacobian J = ∏ D W spread, at infinite width (THEORY 8)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian import expectation
from moments_xr.theory.maps import check

Array = np.ndarray[Any, np.dtype[np.float64]]

S_1 = {"gaussian": -1.0, "orthogonal": 0.0}
"""s₁ of each law of the weights: minus the variance of the eigenvalues of WWᵀ, at mean 1."""

NARROWEST = 1e-10
"""Variance q of pre-activations that stands for the limit q → 0, where φ is as good as linear if it is smooth at 0."""


class JacobianMoments(NamedTuple):
    """Of the squared singular values s² of J: log of their mean, and their variance over the squared mean."""

    log_mean: Array
    relative_variance: Array


class IsometricPoint(NamedTuple):
    """Variances that put a net on the edge of chaos (χ₁ = 1, so that s² is 1 on average) with a chosen spread of s²."""

    q: float
    weight_variance: float
    bias_variance: float
    relative_variance: float
    input_scale: float
    """Standard deviation of inputs whose first pre-activations have variance q; `input.scale` of a recipe."""


def derivative_moment(activation_of: str | Activation | Function, q: ArrayLike, k: int) -> Array:
    """μ_k = E φ'(√q z)^{2k}.

    Examples
    --------
    >>> from moments_xr.theory import derivative_moment
    >>> derivative_moment("relu", [0.5, 2.0], 2).round(12).tolist()
    [0.5, 0.5]
    """
    row = activation(activation_of)
    (variance,) = check(q=q)
    return expectation(lambda y: row.derivative(y) ** (2 * k), variance, row.kinks).value


def jacobian_moments(
    activation: str | Activation | Function,
    depth: ArrayLike,
    weight_variance: ArrayLike,
    q: ArrayLike,
    law: str = "gaussian",
) -> JacobianMoments:
    """Mean and relative variance of the squared singular values of J, exact for free products: (σ_w² μ₁)^L and L(μ₂/μ₁² − 1 − s₁).

    Zero relative variance and zero log mean are dynamical isometry: J turns and doesn't stretch, so gradients keep not only
    their mean size but the size of each direction. With a mean of 1, the largest s² is at least 1 + the relative variance.
    The width is to be large beside the depth; `jacobian_relative_variance` has ReLU and linear nets of any width.

    Parameters
    ----------
    activation
        φ.
    depth
        Number L of layers, all at the same q. (At varying q, `log_mean` and `relative_variance` of single layers add up.)
    weight_variance
        σ_w².
    q
        Variance of the pre-activations.
    law
        "gaussian" or "orthogonal" weights.

    Returns
    -------
    JacobianMoments
        Of the broadcast shape of all but the activation; without unit.

    Raises
    ------
    RequestError
        There is no such law, or a variance is negative.

    References
    ----------
    THEORY 8; Pennington, Schoenholz, Ganguli 2017, arXiv:1711.04735.

    Examples
    --------
    >>> from moments_xr.theory import jacobian_moments
    >>> jacobian_moments("relu", depth=[10, 100], weight_variance=2, q=1, law="orthogonal").relative_variance.round(9)
    array([ 10., 100.])
    """
    s_1 = _s_1(law)
    variance, weight = check(q=q, weight_variance=weight_variance)
    mu_1, mu_2 = (derivative_moment(activation, variance, k) for k in (1, 2))
    layers = np.asarray(depth, dtype="f8")
    with np.errstate(divide="ignore"):
        log_mean = layers * np.log(weight * mu_1)
    return JacobianMoments(log_mean, layers * (mu_2 / mu_1**2 - 1 - s_1) + 0 * weight)


def least_relative_variance(
    activation: str | Activation | Function, depth: ArrayLike, law: str = "orthogonal"
) -> Array:
    """Relative variance of s² in the limit of narrow pre-activations, q → 0: 0 where isometry is possible.

    It is with orthogonal weights and an activation that is smooth at zero, where narrow pre-activations see a straight
    line; not with Gaussian weights (L), nor with ReLU at any q (L).

    Examples
    --------
    >>> from moments_xr.theory import least_relative_variance
    >>> [least_relative_variance(name, 100).round(6).item() for name in ("tanh", "relu", "leaky_relu")]
    [0.0, 100.0, 99.960008]
    >>> least_relative_variance("tanh", 100, "gaussian").round(6).item()
    100.0
    """
    least = jacobian_moments(activation, depth, 1.0, NARROWEST, law).relative_variance
    return np.where(least < 1e-6, 0.0, least)


def isometric_point(
    of: str | Activation | Function, depth: int, relative_variance: float = 0.1, law: str = "orthogonal"
) -> IsometricPoint:
    """How to initialise a net of this depth so that its squared singular values have mean 1 and this relative variance.

    On the edge of chaos σ_w² = 1/μ₁(q) and σ_b² = q − σ_w² E φ² for each q; this is the largest q, reached from 0, of no
    larger relative variance. tanh with orthogonal weights: q ≈ √(relative_variance/(8 L)), σ_w² ≈ 1 + 2q, σ_b² ≈ 4q³/3:
    weights just above 1 and next to no bias. Scale the input by `input_scale`, so that the first pre-activations have variance q, too:
    from inputs of variance 1, tanh needs many layers to come down to q, which alone bring a relative variance of about 1.6.

    Parameters
    ----------
    of
        φ.
    depth
        Number L of layers.
    relative_variance
        Of the squared singular values, about their mean 1.
    law
        "orthogonal" or "gaussian" weights.

    Raises
    ------
    RequestError
        This activation and law spread more at any q: says how much.

    Examples
    --------
    >>> from moments_xr.theory import isometric_point
    >>> point = isometric_point("tanh", depth=100, relative_variance=0.1)
    >>> round(point.q, 4), round(point.weight_variance, 4), round(point.bias_variance, 6)
    (0.0118, 1.0232, 2e-06)
    """
    row = activation(of)
    least = float(least_relative_variance(row, depth, law))
    if least > relative_variance:
        raise RequestError(
            f"relative_variance: {relative_variance:g} can't be had with {row.name} and {law} weights: over {depth} layers"
            f" it is {least:.4g} even at small variances; needs orthogonal weights and an activation that is smooth at 0"
        )

    def excess(log_q: float) -> float:
        return float(jacobian_moments(row, depth, 1.0, np.exp(log_q), law).relative_variance) - relative_variance

    grid = np.log(NARROWEST) + np.arange(0.0, 40.0, 0.5)
    above = [log_q for log_q in grid if excess(log_q) > 0]
    if not above:
        raise RequestError(
            f"relative_variance: {relative_variance:g} is not reached by {row.name} at any q: any will do"
        )
    q = float(np.exp(optimize.brentq(excess, above[0] - 0.5, above[0], xtol=1e-13)))
    weight_variance = float(1 / derivative_moment(row, q, 1))
    square = float(expectation(lambda y: row.phi(y) ** 2, q, row.kinks).value)
    reached = float(jacobian_moments(row, depth, weight_variance, q, law).relative_variance)
    return IsometricPoint(q, weight_variance, q - weight_variance * square, reached, float(np.sqrt(square)))


def _s_1(law: str) -> float:
    if law not in S_1:
        raise RequestError(f"law: '{law}' is not one of {', '.join(S_1)}")
    return S_1[law]
