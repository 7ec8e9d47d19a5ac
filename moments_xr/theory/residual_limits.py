"""Residual nets at large depth: what growth tends to, and which variance a depth allows (arXiv:1712.08969; `residual.py`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from moments_xr.activations import Activation, Function
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian_kernels import kernels
from moments_xr.theory.maps import check
from moments_xr.theory.residual import FAR, residual_growth

Array = np.ndarray[Any, np.dtype[np.float64]]


class ResidualAsymptotics(NamedTuple):
    """log p ≈ `rate` l and log gain ≈ `rate` l, or, where φ is bounded and `rate` is 0, p ≈ `slope` l and log gain ≈ `root` √l."""

    rate: Array
    slope: Array
    root: Array


def residual_asymptotics(
    activation: str | Activation | Function,
    weight_variance: ArrayLike,
    output_variance: ArrayLike,
    output_bias_variance: ArrayLike = 0.0,
) -> ResidualAsymptotics:
    """What growth tends to at large depth: exponential where φ is unbounded; linear p and e^{Θ(√l)} gradients where it is bounded.

    For φ(u) ~ s± u, rate = log(1 + σ_v² σ_w² (s₊² + s₋²)/2): ReLU, log(1 + σ_v² σ_w²/2). For bounded φ, with m the mean of
    φ(±∞)², p ≈ (σ_v² m + σ_a²) l and Eφ'² ≈ ∫φ'²/√(2πq), so that log gain ≈ 2 σ_v² σ_w ∫φ'² √(l/(2π(σ_v² m + σ_a²))): tanh has
    m = 1, ∫φ'² = 4/3.

    Examples
    --------
    >>> from moments_xr.theory import residual_asymptotics
    >>> residual_asymptotics("relu", 2, 1).rate.round(6), residual_asymptotics("tanh", 1, 1).root.round(3)  # log 2, 8/(3√2π)
    (np.float64(0.693147), np.float64(1.064))
    """
    inner, outer, output_bias = check(
        weight_variance=weight_variance, output_variance=output_variance, output_bias_variance=output_bias_variance
    )
    kernel, far, wide = kernels(activation), np.array(FAR), np.array(1e12)
    rate = np.log1p(outer * inner * kernel.slope_square(far))
    if rate.max(initial=0) > 1e-9:
        return ResidualAsymptotics(rate, np.full_like(rate, np.inf), np.full_like(rate, np.inf))
    slope = outer * kernel.square(wide) + output_bias
    root = 2 * outer * np.sqrt(inner) * np.sqrt(wide) * kernel.slope_square(wide) / np.sqrt(slope)
    return ResidualAsymptotics(np.zeros_like(root), slope + 0 * root, root)


def best_variance(
    activation: str | Activation | Function, depth: int, weight_variance: float = 1.0, budget: float = 1.0
) -> float:
    """The largest σ_v² with which squared gradients grow at most e^`budget`-fold over the whole depth, without biases.

    It falls as 1/depth: ReLU, 2(e^{budget/L} − 1)/σ_w²; tanh at σ_w = 1 and budget 1, 2.55/L. With σ_v = σ_w = σ that is
    σ² ∝ 1/√L. He's or Xavier's variance, the same at any depth, is too large for deep residual nets.

    Parameters
    ----------
    activation
        φ.
    depth
        Number L of residual units.
    weight_variance
        σ_w² of the inner layer; its inputs have mean square 1.
    budget
        Log of the growth allowed to squared gradients.

    Raises
    ------
    RequestError
        The budget isn't positive, or no variance meets it.

    Examples
    --------
    >>> from moments_xr.theory import best_variance
    >>> [round(best_variance("relu", depth, weight_variance=2), 4) for depth in (10, 100, 1000)]
    [0.1052, 0.0101, 0.001]
    """
    if not budget > 0:
        raise RequestError(f"budget: {budget} is the log of a growth; needs to be positive")

    def excess(log_variance: float) -> float:
        growth = residual_growth(activation, depth, weight_variance, np.exp(log_variance))
        return float(growth.log_gain[-1]) - budget

    # Exact if φ' spreads as at the input; where φ saturates, more is allowed.
    guess = np.log(
        np.expm1(budget / depth) / (weight_variance * kernels(activation).slope_square(np.array(weight_variance)))
    )
    lowest, highest = guess - 10, guess + 10
    if not excess(lowest) < 0 < excess(highest):
        raise RequestError(
            f"budget: {budget} isn't met by any σ_v² between {np.exp(lowest):.1g} and {np.exp(highest):.1g}"
        )
    return float(np.exp(optimize.toms748(excess, lowest, highest, xtol=1e-10)))
