"""Mean-field maps of one layer: what variances and correlations of pre-activations become (THEORY 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from moments_xr.activations import Activation, Function
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian_kernels import Array, kernels


def variance_map(
    activation: str | Activation | Function,
    q: ArrayLike,
    weight_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
    keep: ArrayLike = 1.0,
) -> Array:
    """Variance of the next layer's pre-activations, (σ_w²/ρ) E φ(√q z)² + σ_b².

    Parameters
    ----------
    activation
        Name, row or function φ.
    q
        Variance of this layer's pre-activations.
    weight_variance, bias_variance
        σ_w² (weights have σ_w²/fan_in) and σ_b².
    keep
        Rate ρ at which dropout keeps activations, scaled by 1/ρ.

    Returns
    -------
    Array
        Of the broadcast shape of all but the activation.

    Raises
    ------
    RequestError
        A variance is negative, or `keep` isn't in (0, 1].

    Examples
    --------
    >>> from moments_xr.theory import variance_map
    >>> float(variance_map("relu", 3.0, weight_variance=2.0, bias_variance=0.5))
    3.5
    """
    q, weight, bias, keep = check(q=q, weight_variance=weight_variance, bias_variance=bias_variance, keep=keep)
    return weight / keep * kernels(activation).square(q) + bias


def covariance_map(
    activation: str | Activation | Function,
    q_a: ArrayLike,
    q_b: ArrayLike,
    c: ArrayLike,
    weight_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
) -> Array:
    """Covariance of the next layer's pre-activations for two inputs, σ_w² E[φ(u_a) φ(u_b)] + σ_b².

    Dropout has independent masks for the two, so its keep rate isn't in it; c = 1 is the same input only without.

    Parameters
    ----------
    activation
        Name, row or function φ.
    q_a, q_b, c
        Variances and correlation of this layer's pre-activations.
    weight_variance, bias_variance
        σ_w² and σ_b².

    Returns
    -------
    Array
        q_ab of the next layer; its correlation is this over √(q_aa q_bb) of `variance_map`.

    Raises
    ------
    RequestError
        A variance is negative, or c isn't in [−1, 1].

    Examples
    --------
    >>> from moments_xr.theory import covariance_map
    >>> covariance_map("relu", 1, 1, [-1, 0, 1], weight_variance=2).round(6).tolist()  # 0, 1/π, 1
    [0.0, 0.31831, 1.0]
    """
    q_a, q_b, weight, bias = check(q_a=q_a, q_b=q_b, weight_variance=weight_variance, bias_variance=bias_variance)
    return weight * kernels(activation).product(q_a, q_b, angle_of(c)) + bias


def correlation_map(
    activation: str | Activation | Function,
    q: ArrayLike,
    c: ArrayLike,
    weight_variance: ArrayLike,
    bias_variance: ArrayLike = 0.0,
    keep: ArrayLike = 1.0,
) -> Array:
    """Correlation of the next layer's pre-activations for two inputs of the same variance q: the c-map.

    Examples
    --------
    >>> from moments_xr.theory import correlation_map
    >>> correlation_map("relu", 1, [0, 0.5, 1], weight_variance=2).round(4).tolist()
    [0.3183, 0.609, 1.0]
    """
    return covariance_map(activation, q, q, c, weight_variance, bias_variance) / variance_map(
        activation, q, weight_variance, bias_variance, keep
    )


def chi_1(
    activation: str | Activation | Function, q: ArrayLike, weight_variance: ArrayLike, keep: ArrayLike = 1.0
) -> Array:
    """χ₁ = (σ_w²/ρ) E φ'(√q z)², by which a layer multiplies squared gradients and infinitesimal noise.

    Without dropout also the slope of the c-map at c = 1, at a fixed point of the variance.

    Examples
    --------
    >>> from moments_xr.theory import chi_1
    >>> chi_1("relu", q=[0.1, 10], weight_variance=2).tolist()
    [1.0, 1.0]
    """
    q, weight, keep = check(q=q, weight_variance=weight_variance, keep=keep)
    return weight / keep * kernels(activation).slope_square(q)


def chi_c(activation: str | Activation | Function, q: ArrayLike, c: ArrayLike, weight_variance: ArrayLike) -> Array:
    """χ_c = σ_w² E[φ'(u_a) φ'(u_b)] at variance q and correlation c: ∂q_ab/∂(q c) (Price's theorem).

    At a fixed point of the variance it is the slope of the c-map.

    Examples
    --------
    >>> from moments_xr.theory import chi_c
    >>> chi_c("relu", 1, [-1, 0, 1], weight_variance=2).round(12).tolist()
    [0.0, 0.5, 1.0]
    """
    q, weight = check(q=q, weight_variance=weight_variance)
    return weight * kernels(activation).slope_product(q, q, angle_of(c))


def angle_of(c: ArrayLike) -> Array:
    """arccos c, in [0, π]; c may be beyond ±1 by rounding.

    Raises
    ------
    RequestError
        c isn't in [−1, 1].
    """
    c = np.asarray(c, dtype="f8")
    if (abs(c) > 1 + 1e-9).any():
        raise RequestError(f"c is {c[abs(c) > 1 + 1e-9].flat[0]}; a correlation is in [−1, 1]")
    return np.arccos(np.clip(c, -1, 1))


def check(**parameters: Any) -> list[Array]:
    """Parameters as arrays of floats: variances, and `keep`.

    Raises
    ------
    RequestError
        A variance is negative, or `keep` isn't in (0, 1].
    """
    arrays = {name: np.asarray(value, dtype="f8") for name, value in parameters.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise RequestError(f"{name} is {array[~np.isfinite(array)].flat[0]}; needs to be finite")
        if name == "keep" and not ((array > 0) & (array <= 1)).all():
            raise RequestError(f"keep is {array.min() if array.min() <= 0 else array.max()}; a keep rate is in (0, 1]")
        if (array < 0).any():
            raise RequestError(f"{name} is {array.min()}; a variance isn't negative")
    return list(arrays.values())
