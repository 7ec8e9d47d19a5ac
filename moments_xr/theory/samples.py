"""A batch of inputs and its noise through fully-connected nets of infinite width: χ beside the q- and c-maps (THEORY 8).

Second moments S_a and squared distances D_ab of the samples are carried from layer to layer, not products: where all
samples come to look alike, nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian_kernels import Array, kernels
from moments_xr.theory.hermite import distance
from moments_xr.theory.maps import check

FAR = 30.0
"""Activations see variances between exp(±30): beyond, E φ²/q doesn't change any more."""

Distance = Callable[[Array, Array], Array]
"""q (sample,) and 1 − c (sample, sample) -> E (φ(u_a) − φ(u_b))² (sample, sample)."""


class Samples(NamedTuple):
    """Of each layer, at one site: arrays (layer,), and 1 − c of each pair of samples a < b (layer, pair)."""

    log_nu2: Array
    log_mu2: Array
    log_noise: Array
    gap: Array


def propagate_samples(
    of: str | Activation | Function,
    signal: Array,
    depth: int,
    weight_variance: float,
    bias_variance: float = 0.0,
    keep: float = 1.0,
    residual: bool = False,
) -> dict[str, Samples]:
    """What a batch and its noise become in layers 1 … depth, before and after the activation, to any depth.

    ν₂(x^l) = mean_a E φ(u_a)², μ₂(x^l) = ½ mean_ab E (φ(u_a) − φ(u_b))² over all pairs (a = b included), and
    μ₂(dx^l) = mean_a ∏_k (σ_w²/ρ) E φ'(u_a^k)² for noise of unit variance.

    Parameters
    ----------
    of
        Name, row or function φ.
    signal
        x⁰ (sample, feature), as it enters the embedding.
    depth
        Layers after the embedding.
    weight_variance, bias_variance, keep
        σ_w², σ_b² and the keep rate ρ of dropout, whose masks for two samples are independent.
    residual
        x^l = x^{l−1} + V φ(W x^{l−1} + b) + a, both of these laws, instead of φ(W x^{l−1} + b).

    Returns
    -------
    dict
        Site -> Samples: `conv`, `act` and, for residual nets, `sum`.

    Raises
    ------
    RequestError
        A variance is negative, `keep` isn't in (0, 1], or the depth or the signal is not what it should be.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory.samples import propagate_samples
    >>> x = np.random.default_rng(0).normal(size=(8, 100))
    >>> layers = propagate_samples("relu", x, depth=4, weight_variance=2)
    >>> bool(np.allclose(layers["act"].log_noise, 0))
    True
    """
    row = activation(of)
    check(weight_variance=weight_variance, bias_variance=bias_variance, keep=keep)
    if depth < 1 or np.ndim(signal) != 2 or not np.isfinite(signal).all():
        raise RequestError(f"depth {depth} needs to be at least 1, and signal (sample, feature) and finite")
    kernel, apart_after = kernels(row), _distance(row)
    x = np.asarray(signal, dtype="f8")
    second = np.square(x).mean(1)
    apart = np.stack([np.square(x - one).mean(1) for one in x])
    noise = np.ones(len(x))
    log_scale = log_noise_scale = 0.0
    sites: dict[str, list[tuple[Array, ...]]] = {name: [] for name in ("conv", "act", *(("sum",) if residual else ()))}

    def affine(second: Array, apart: Array, noise: Array) -> tuple[Array, Array, Array]:
        bias = bias_variance * np.exp(-log_scale) if bias_variance else 0.0
        dropped = (1 / keep - 1) * (second[:, None] + second) * (1 - np.eye(len(second)))
        gain = weight_variance / keep
        return gain * second + bias, weight_variance * (apart + dropped), gain * noise

    def activate(second: Array, apart: Array, noise: Array) -> tuple[Array, Array, Array]:
        factor = np.exp(np.clip(log_scale, -FAR, FAR))
        q = second * factor
        return kernel.square(q) / factor, apart_after(q, _gap(second, apart)) / factor, noise * kernel.slope_square(q)

    for _ in range(depth):
        size, noise_size = second.mean(), noise.mean()
        log_scale, log_noise_scale = log_scale + float(np.log(size)), log_noise_scale + float(np.log(noise_size))
        state = entered = second / size, apart / size, noise / noise_size
        for site in sites:
            state = activate(*state) if site == "act" else affine(*state)
            if site == "sum":
                state = tuple(a + b for a, b in zip(state, entered, strict=True))
            sites[site].append(_seen(*state, log_scale, log_noise_scale))
        second, apart, noise = state
    return {site: Samples(*map(np.array, zip(*seen, strict=True))) for site, seen in sites.items()}


def _gap(second: Array, apart: Array) -> Array:
    """1 − c_ab from second moments and squared distances, without cancellation."""
    root = np.sqrt(second)
    both = 2 * root[:, None] * root
    gap = np.divide(apart - np.square(root[:, None] - root), both, out=np.zeros_like(both), where=both > 0)
    return np.clip(gap, 0, 2)


def _seen(second: Array, apart: Array, noise: Array, log_scale: float, log_noise_scale: float) -> tuple[Array, ...]:
    with np.errstate(divide="ignore"):
        return (
            np.log(second.mean()) + log_scale,
            np.log(apart.mean() / 2) + log_scale,
            np.log(noise.mean()) + log_noise_scale,
            _gap(second, apart)[np.triu_indices(len(second), 1)],
        )


def _distance(row: Activation) -> Distance:
    """E (φ(u_a) − φ(u_b))² of all pairs: in closed form if φ is homogeneous, else by its series."""
    kernel = kernels(row)
    if row.homogeneous:
        return lambda q, gap: kernel.difference(q[:, None], q, 2 * np.arcsin(np.sqrt(gap / 2)))
    return lambda q, gap: distance(row, kernel, q, gap)
