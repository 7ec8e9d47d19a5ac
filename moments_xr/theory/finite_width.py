"""Closed forms for nets of finite width: diffusion and collapse of vanilla ReLU nets (THEORY 5.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats


class DiffusionBounds(NamedTuple):
    """Bounds per layer of the drift −m and of the diffusion v of log ν₂ and log μ₂(dx)."""

    m_min: float
    m_max: float
    v_min: float
    v_max: float


def diffusion_bounds(width: int, fan_in: int) -> DiffusionBounds:
    """Bounds of Theorem 1 for a vanilla ReLU layer of `width` N and `fan_in` R = K^d N_prev.

    m_min and v_min are minus the mean, and the variance, of log(χ²(N·R)/(N·R)); m_max and v_max those of
    (2/N) Σ_c u_c χ²_c(1) with u_c ~ Bernoulli(½), given that it is positive.

    Examples
    --------
    >>> [float(f"{bound:.4g}") for bound in diffusion_bounds(100, 100)]
    [0.0001, 0.02542, 0.0002, 0.05194]
    """
    product = width * fan_in
    m_min = np.log(product / 2) - special.digamma(product / 2)
    v_min = special.polygamma(1, product / 2)
    alive = np.arange(1, width + 1)
    weight = stats.binom.pmf(alive, width, 0.5)
    weight /= weight.sum()
    mean = np.log(4 / width) + special.digamma(alive / 2)  # of log((2/N) χ²(k)), given k channels
    m_max = -float(weight @ mean)
    v_max = float(weight @ special.polygamma(1, alive / 2)) + float(weight @ (mean + m_max) ** 2)
    return DiffusionBounds(float(m_min), m_max, float(v_min), v_max)


def survival_bounds(layers: np.ndarray, width: int, fan_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of Theorem 1 on P[ν₂(x^l) > 0], at each layer, of a vanilla ReLU net whose layers are all `width` wide.

    ∏_{k=1}^{l} (1 − 2^{−N}) ≤ P ≤ ∏_{k=2}^{l} (1 − 2^{−R N}); for one input of one position the left is an equality.

    Examples
    --------
    >>> low, high = survival_bounds(np.array([1, 100]), 8, 8)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.996, 0.676], [1.0, 1.0])
    """
    depth = np.asarray(layers, dtype="f8")
    return np.exp(depth * np.log1p(-(2.0**-width))), np.exp((depth - 1) * np.log1p(-(2.0 ** -(fan_in * width))))


def jacobian_relative_variance(depth: int, width: int, kurtosis: float = 2.0) -> np.ndarray:
    """Relative variance of the squared singular values s² of a Jacobian J = ∏ D W of finite width: E[mean s⁴]/E[mean s²]² − 1.

    Gaussian W; D with independent entries of E d⁴/(E d²)² = `kurtosis`: exact for ReLU (2) without biases, at one input, and for
    linear nets (1). As the width grows it becomes k l, k the kurtosis (THEORY 8); to first order it is larger by k(3k − 2) l²/(2N),
    and where the depth isn't small beside the width it grows exponentially, as mean s² diffuses from net to net.

    Parameters
    ----------
    depth
        Number L of layers.
    width
        N, of all layers.
    kurtosis
        μ₂/μ₁² of φ'².

    Returns
    -------
    (L,) relative variance after 1 … L layers.

    Examples
    --------
    >>> from moments_xr.theory import jacobian_relative_variance
    >>> jacobian_relative_variance(2, 100).round(3), jacobian_relative_variance(2, 10**6).round(3)
    (array([2.03 , 4.142]), array([2., 4.]))
    """
    # Means, over nets, of tr(A²)/N and (tr A/N)² for A = JJᵀ, with E d² = 1: W, then D, take both to linear combinations.
    square, trace = 1.0, 1.0
    out = np.empty(depth)
    for layer in range(depth):
        diagonal = trace + 2 * square / width
        square, trace = (
            trace + (1 + 1 / width) * square + (kurtosis - 1) * diagonal,
            trace + 2 * square / width**2 + (kurtosis - 1) * diagonal / width,
        )
        out[layer] = square
    return out - 1
