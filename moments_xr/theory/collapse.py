"""What becomes of a batch's signal with depth at infinite width: directions, sides, slopes and tails of the channels.

Channels of pre-activations are independent Gaussian vectors over the batch, of covariance Q_ab, so that means over channels of
what is not linear in them are expectations of one or two Gaussian variables. All come from second moments S_a and squared
distances D_ab = S_a + S_b − 2 Q_ab, so that nothing cancels where samples come to look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from moments_xr.activations import Activation, Function, activation
from moments_xr.theory.gaussian import expectation
from moments_xr.theory.gaussian_kernels import Array, lens
from moments_xr.theory.samples import Scaled, State, each_layer, seen_variance
from moments_xr.theory.slopes import slope_distance


class Collapse(NamedTuple):
    """Logarithms of statistics that vanish, or grow, as signals collapse; arrays (layer,), −inf where they are zero.

    The first two are of the layer's output, the others of the pre-activations y.
    """

    variance_share: Array
    """μ₂(x)/ν₂(x)"""
    rank_excess: Array
    """r_eff(x) − 1, r_eff the trace over the largest eigenvalue of the centred Gram matrix; below 1e-14 it is rounding."""
    one_sidedness: Array
    """E_c[ν₁,c(y⁺) ν₁,c(y⁻)]/μ₂(y)"""
    slope_spread: Array
    """E_c Var_a φ'(y)/Var φ'(y), the variance in the denominator over channels and samples; −inf if φ' is constant"""
    kurtosis: Array
    """E_c μ₄,c(y)/E_c μ₂,c(y)²"""


def propagate_collapse(
    of: str | Activation | Function,
    signal: Array,
    depth: int,
    weight_variance: float,
    bias_variance: float = 0.0,
    keep: float = 1.0,
    residual: bool = False,
) -> Collapse:
    """The statistics of layers 1 … depth; arguments, and errors, of `propagate_samples`.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory import propagate_collapse
    >>> x = np.random.default_rng(0).normal(size=(8, 100))
    >>> deep = propagate_collapse("relu", x, depth=100, weight_variance=2)
    >>> np.exp(deep.one_sidedness[[0, 99]]).round(4).tolist()  # channels come to one side of the kink
    [0.1571, 0.0035]
    """
    collapsed = collapse(of)
    layers = each_layer(of, signal, depth, weight_variance, bias_variance, keep, residual)
    return Collapse(*map(np.array, zip(*map(collapsed, layers), strict=True)))


def collapse(of: str | Activation | Function) -> Callable[[Mapping[str, Scaled]], Collapse]:
    """The function that gives the statistics, as numbers, of the states at the sites of one layer (`each_layer`)."""
    row = activation(of)
    slopes_apart = slope_distance(row)

    def slope_spread(scaled: Scaled) -> Array:
        q = seen_variance(scaled)
        mean = expectation(row.derivative, q, row.kinks).value.mean()
        total = expectation(lambda u: (row.derivative(u) - mean) ** 2, q, row.kinks).value.mean()
        return np.asarray(slopes_apart(q, scaled.state.gap).mean() / 2 / total if total > 0 else 0.0)

    def statistics(sites: Mapping[str, Scaled]) -> Collapse:
        y, x = sites["conv"].state, list(sites.values())[-1].state
        with np.errstate(divide="ignore", invalid="ignore"):
            return Collapse(
                np.log(x.apart.mean() / 2 / x.second.mean()), np.log(rank_excess(x)), np.log(one_sidedness(y)),
                np.log(slope_spread(sites["conv"])), np.log(kurtosis(y)),
            )  # fmt: skip

    return statistics


def centred(state: State) -> Array:
    """Covariance of channels centred over the batch: −½ H D H, H = 1 − 1/M (sample, sample)."""
    means = state.apart.mean(0)
    return -0.5 * (state.apart - means - means[:, None] + means.mean())


def rank_excess(state: State) -> Array:
    """r_eff − 1: all eigenvalues of the centred Gram matrix but the largest, over that; NaN where all samples are one."""
    values = np.linalg.eigvalsh(centred(state))
    return np.asarray(np.maximum(values[:-1].sum(), 0) / values[-1])


def one_sidedness(state: State) -> Array:
    """E_c[ν₁⁺ ν₁⁻]/μ₂: the mean over pairs of E[relu(y_a) relu(−y_b)], the arc-cosine kernel at correlation −c."""
    root = np.sqrt(state.second)
    angle = 2 * np.arcsin(np.sqrt(state.gap / 2))
    product = root[:, None] * root * lens(angle) / (2 * np.pi)
    return np.asarray(product.mean() / (state.apart.mean() / 2))


def kurtosis(state: State) -> Array:
    """E_c μ₄,c/E_c μ₂,c² of Gaussian vectors of the centred covariance C: 3 mean_a C_aa² over ((tr C)² + 2 tr C²)/M²."""
    c = centred(state)
    diagonal = np.diagonal(c)
    return np.asarray(3 * np.square(diagonal).mean() / ((diagonal.sum() ** 2 + 2 * np.square(c).sum()) / len(c) ** 2))
